"""The files of recorded hashes, and what is in them."""

from __future__ import annotations

import json
import platform
from pathlib import Path

FOLDER = Path(__file__).parent
CONSTRAINED = "constrained"


def load(name, folder=FOLDER):
    """What was recorded under a name ("torch", "keras", "constrained"); nothing where there is no file."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def save(name, data, folder=FOLDER):
    """Write what is to be recorded, a line for each kind of thing of a recipe."""
    (folder / f"{name}.json").write_text(_text(data, 0) + "\n")


def processor():
    """What decides in which order kernels add floats: the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _text(value, depth):
    if not isinstance(value, (dict, list)) or _flat(value):
        return json.dumps(value, ensure_ascii=False)
    pad = " " * (depth + 1)
    if isinstance(value, list):
        return "[\n" + ",\n".join(pad + _text(part, depth + 1) for part in value) + "\n" + " " * depth + "]"
    rows = (f"{pad}{json.dumps(key, ensure_ascii=False)}: {_text(part, depth + 1)}" for key, part in value.items())
    return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"


def _flat(value):
    parts = list(value.values() if isinstance(value, dict) else value)
    if any(isinstance(part, (dict, list)) for part in parts):
        return False
    return isinstance(value, dict) or not any(isinstance(part, str) and "," in part for part in parts)
