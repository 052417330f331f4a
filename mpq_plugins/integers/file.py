"""An integer program on disk: ``program.json``, which people can read, and ``arrays.npz`` with its codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import ValidationError

from mpq_plugins.errors import MPQError, OutputError, ProgramError
from mpq_plugins.integers.program import Bias, Entrance, Layout, Program, Tensor, Weight
from mpq_plugins.integers.steps import Step
from mpq_plugins.recipe_file import json_text
from mpq_plugins.schema import Schema, problems

FORMAT = "mpq-integers"
SCHEMA_VERSION = 1
PROGRAM_FILE = "program.json"
ARRAYS_FILE = "arrays.npz"


class ProgramFields(Schema):
    """The JSON of a program: all but its arrays."""

    error: ClassVar[type[MPQError]] = ProgramError
    format: Literal["mpq-integers"]
    schema_version: Literal[1]
    name: str
    target: str
    framework: str
    layout: Layout
    inputs: tuple[Entrance, ...]
    outputs: tuple[str, ...]
    float_ops: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...]
    weights: tuple[Weight, ...]
    biases: tuple[Bias, ...]
    steps: tuple[Step, ...]


def save(program: Program, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write ``program.json`` and ``arrays.npz`` into a folder, which is made; returns both paths.

    Equal programs give equal bytes. Raises OutputError when it cannot be written.
    """
    names = [name for name in ProgramFields.model_fields if name not in ("format", "schema_version")]
    fields = ProgramFields(format="mpq-integers", schema_version=1, **{name: getattr(program, name) for name in names})
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **program.arrays)  # type: ignore[arg-type]
    dumped = fields.model_dump(mode="json")
    for step in dumped["steps"]:
        if "stages" in step:
            step["stages"] = [_first("kind", stage) for stage in step["stages"]]
    dumped["steps"] = [_first("op", step) for step in dumped["steps"]]
    text = json_text.dumps(dumped)
    return (
        write(Path(folder) / PROGRAM_FILE, text.encode()),
        write(Path(folder) / ARRAYS_FILE, arrays.getvalue()),
    )


def load(folder: str | os.PathLike[str]) -> Program:
    """Read what ``save`` wrote. Raises ProgramError for a damaged or newer file, naming the field."""
    path = Path(folder) / PROGRAM_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"cannot read the integer program {path}: {error.strerror}") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ProgramError(f"{path} is damaged: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ProgramError(f'{path} is no integer program: it should be a JSON object with "format": "{FORMAT}"')
    version = data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ProgramError(
            f"{path} has schema {version}, and this version of mpq-plugins reads {SCHEMA_VERSION}; upgrade mpq-plugins"
        )
    try:
        fields = ProgramFields.model_validate_json(text)
    except ValidationError as error:
        raise ProgramError(f"{path} is damaged: {problems(error)}") from None
    rest: dict[str, Any] = {
        name: getattr(fields, name) for name in ProgramFields.model_fields if name not in ("format", "schema_version")
    }
    try:
        return Program(**rest, arrays=_arrays(Path(folder) / ARRAYS_FILE))
    except ProgramError as error:
        raise ProgramError(f"{path} is damaged: {error}") from None


def write(path: Path, content: bytes) -> Path:
    """Write a whole file or nothing, in a folder that is made. Raises OutputError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
    return path


def _first(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields, that which says what they are in front."""
    return {name: fields[name], **fields}


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise ProgramError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ProgramError(f"{path} holds no plain arrays: {error}") from None
    wrong = [name for name, array in arrays.items() if array.dtype.kind != "i"]
    if wrong:
        raise ProgramError(f"{path}: {', '.join(wrong)} are no integer codes")
    return arrays
