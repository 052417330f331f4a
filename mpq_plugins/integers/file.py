"""An integer program on disk: ``program.json``, which people can read, and ``arrays.npz`` with its codes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mpq_plugins.errors import MPQError, ProgramError
from mpq_plugins.integers.program import Bias, Entrance, Layout, Program, Tensor, Weight
from mpq_plugins.integers.steps import Step
from mpq_plugins.stored import json_text, whole_file
from mpq_plugins.stored.arrays import read_arrays
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-integers", 1, "integer program", ProgramError)
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
    fields = ProgramFields(**HEADING.fields, **{name: getattr(program, name) for name in names})
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **program.arrays)  # type: ignore[arg-type]
    dumped = fields.model_dump(mode="json")
    for entrance in dumped["inputs"]:
        if not entrance["numbers_rows"]:
            del entrance["numbers_rows"]  # equal programs of versions without it have equal bytes
    for step in dumped["steps"]:
        if "stages" in step:
            step["stages"] = [_first("kind", stage) for stage in step["stages"]]
    dumped["steps"] = [_first("op", step) for step in dumped["steps"]]
    text = json_text.dumps(dumped)
    return (
        whole_file.write(Path(folder) / PROGRAM_FILE, text, make_folder=True),
        whole_file.write(Path(folder) / ARRAYS_FILE, arrays.getvalue()),
    )


def load(folder: str | os.PathLike[str]) -> Program:
    """Read what ``save`` wrote. Raises ProgramError for a damaged or newer file, naming the field."""
    path = Path(folder) / PROGRAM_FILE
    fields = HEADING.load(ProgramFields, path)
    rest: dict[str, Any] = {
        name: getattr(fields, name) for name in ProgramFields.model_fields if name not in ("format", "schema_version")
    }
    try:
        return Program(**rest, arrays=_arrays(Path(folder) / ARRAYS_FILE))
    except ProgramError as error:
        raise HEADING.damaged(error, str(path)) from None


def _first(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields, that which says what they are in front."""
    return {name: fields[name], **fields}


def _arrays(path: Path) -> dict[str, Any]:
    try:
        arrays = read_arrays(path)
    except OSError as error:
        raise ProgramError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ProgramError(f"{path} holds no plain arrays: {error}") from None
    wrong = [name for name, array in arrays.items() if array.dtype.kind != "i"]
    if wrong:
        raise ProgramError(f"{path}: {', '.join(wrong)} are no integer codes")
    return arrays
