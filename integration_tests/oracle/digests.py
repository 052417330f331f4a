"""Short hashes of what is compared."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpq_plugins import integers

SHARED = "mpq_integers.h"
LENGTH = 8
"""Hexadecimal digits: enough to tell an old value from a new one."""


def of_bytes(content):
    """Of the content of a file."""
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def of_codes(array):
    """Of integers, with their shape."""
    array = np.ascontiguousarray(array)
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise AssertionError("these are no integer codes")
    return of_bytes(repr(whole.shape).encode() + whole.tobytes())


def of_values(array):
    """Of grid values, with their shape; the two zeros are one value."""
    array = np.ascontiguousarray(np.asarray(array, np.float64) + 0.0)
    return of_bytes(repr(array.shape).encode() + array.tobytes())


def of_program(program):
    """Of an integer program: its JSON, its arrays, its C files. Versions and compression are left out.

    So is the header of all programs, to which every new kernel adds.
    """
    program = replace(program, name="model", framework="")
    with tempfile.TemporaryDirectory() as folder:
        text, _ = integers.save(program, folder)
        written = integers.write_c(program, Path(folder))
        c = b"".join(path.name.encode() + path.read_bytes() for path in written if path.name != SHARED)
        json = text.read_bytes()
    arrays = b"".join(name.encode() + of_codes(array).encode() for name, array in sorted(program.arrays.items()))
    return {"arrays": of_bytes(arrays), "json": of_bytes(json), "c": of_bytes(c)}


def of_inventory(inventory):
    """An inventory as readable data."""
    return {"sites": [_site(site) for site in inventory], "live": [" ".join(names) for names in inventory.live]}


def of_recipe(recipe):
    """Of the grids of a recipe."""
    return of_bytes("\n".join(f"{name} {grid!r}" for name, grid in recipe.items()).encode())


def _site(site):
    words = [site.name, site.kind, site.op, "x".join(map(str, site.shape))]
    words += [f"{site.macs} MACs, channels on axis {site.channel_axis}"] if site.kind == "weight" else []
    words += [] if site.signed else ["unsigned"]
    words += [f"reads {' '.join(site.inputs)}"] if site.inputs else []
    words += [f"group {site.group}"] if site.group else []
    return ", ".join(words)
