"""Runs an integer program with NumPy: integers and shifts alone, nothing of it is ever a float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import ProgramError
from mpq_plugins.integers.entrance import check_rows
from mpq_plugins.integers.kernels import compute
from mpq_plugins.integers.program import Program

BATCH = 64
"""Samples that are computed at once."""

Integers = NDArray[np.int32]


def run(program: Program, inputs: Mapping[str, ArrayLike] | ArrayLike, batch: int = BATCH) -> dict[str, Integers]:
    """The codes of the outputs by name, int32 of [samples, *shape].

    inputs: codes of [samples, *shape], by name; or an array alone where the program has one input.
    Raises ProgramError for a missing input, another shape, values that are no integers or off their grid.
    """
    given = _checked(program, inputs)
    samples = {len(x) for x in given.values()}
    if len(samples) > 1:
        raise ProgramError(f"the inputs hold different numbers of samples: {', '.join(map(str, sorted(samples)))}")
    parts: dict[str, list[Integers]] = {name: [] for name in program.outputs}
    for start in range(0, max(samples, default=0), batch):
        values = trace(program, {name: x[start : start + batch] for name, x in given.items()}, program.outputs)
        for name, found in parts.items():
            found.append(values[name])
    return {name: np.concatenate(found) for name, found in parts.items() if found}


def trace(
    program: Program, inputs: Mapping[str, ArrayLike] | ArrayLike, keep: tuple[str, ...] | None = None
) -> dict[str, Integers]:
    """The codes of every tensor, or of those named in ``keep``, in one go; to see where two runs part."""
    values = _checked(program, inputs)
    wanted = [t.name for t in program.tensors] if keep is None else list(keep)
    last = {name: index for index, step in enumerate(program.steps) for name in step.inputs}
    for index, step in enumerate(program.steps):
        read = [values[name] for name in step.inputs]
        values[step.output] = compute(step, read, program.tensor(step.output), program.arrays, program.layout)
        for name in set(step.inputs):
            if last[name] == index and name not in wanted:
                del values[name]
    return {name: values[name] for name in wanted}


def _checked(program: Program, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Any]:
    names = [entrance.tensor for entrance in program.inputs]
    if not isinstance(inputs, Mapping):
        if len(names) != 1:
            raise ProgramError(f"the program has {len(names)} inputs; give them by name: {', '.join(names)}")
        inputs = {names[0]: inputs}
    checked: dict[str, Any] = {}
    for entrance in program.inputs:
        name = entrance.tensor
        if name not in inputs:
            raise ProgramError(f"the input {name!r} is missing; the program reads {', '.join(names)}")
        tensor, array = program.tensor(name), np.asarray(inputs[name])
        if array.dtype.kind not in "iu":
            raise ProgramError(
                f"input {name!r} holds {array.dtype} values, and the program takes integer codes; "
                "input_codes(program, x) makes them from floats"
            )
        if array.shape[1:] != tensor.shape:
            raise ProgramError(
                f"input {name!r} has the shape {array.shape}, and should have (samples, *{tensor.shape})"
            )
        if entrance.numbers_rows:
            check_rows(entrance, array)
        if array.size and (array.min() < tensor.low or array.max() > tensor.high):
            raise ProgramError(
                f"input {name!r} holds codes from {array.min()} to {array.max()}, and its grid is "
                f"{tensor.low} .. {tensor.high}"
            )
        checked[name] = array.astype(np.int32)
    return checked
