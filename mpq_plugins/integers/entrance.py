"""The two doors between floats and an integer program: codes of a float input, values of integer outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import NonFiniteValues, ProgramError
from mpq_plugins.integers.program import Entrance, Program


def input_codes(program: Program, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, NDArray[np.int32]]:
    """The codes of float inputs, as the target's runtime quantizes them: in float32, steps being powers of two.

    inputs: by name; or an array alone where the program has one input. Raises ProgramError, NonFiniteValues.
    """
    if not isinstance(inputs, Mapping):
        if len(program.inputs) != 1:
            raise ProgramError(f"give the inputs by name: {', '.join(e.tensor for e in program.inputs)}")
        inputs = {program.inputs[0].tensor: inputs}
    codes: dict[str, NDArray[np.int32]] = {}
    for entrance in program.inputs:
        if entrance.tensor not in inputs:
            raise ProgramError(f"the input {entrance.tensor!r} is missing")
        tensor, given = program.tensor(entrance.tensor), np.asarray(inputs[entrance.tensor])
        if entrance.numbers_rows:
            check_rows(entrance, given)
            codes[entrance.tensor] = given.astype(np.int32)
            continue
        x = given.astype(np.float32)
        if not np.all(np.isfinite(x)):
            raise NonFiniteValues(f"input {entrance.tensor!r} holds NaN or infinite values")
        scaled = np.asarray(np.ldexp(x, -tensor.exponent) + np.float32(entrance.offset), dtype=np.float32)
        whole = _ROUND[entrance.rounding](scaled) - np.float32(entrance.offset)
        codes[entrance.tensor] = np.clip(whole, entrance.low, entrance.high).astype(np.int32)
    return codes


def check_rows(entrance: Entrance, numbers: NDArray[Any]) -> None:
    """Raise ProgramError, naming the input and a number, unless all are whole and name rows of the table."""
    wrong = numbers[~((numbers >= entrance.low) & (numbers <= entrance.high) & (numbers == np.rint(numbers)))]
    if wrong.size:
        raise ProgramError(
            f"input {entrance.tensor!r} holds {wrong.flat[0]}, and takes whole numbers from {entrance.low} to "
            f"{entrance.high}, which name rows of a table"
        )


def output_values(program: Program, outputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
    """What the codes of tensors stand for: ``code * 2**exponent``, float32."""
    return {
        name: np.ldexp(np.asarray(codes, dtype=np.float32), program.tensor(name).exponent)
        for name, codes in outputs.items()
    }


def _half_up(x: NDArray[Any]) -> NDArray[Any]:
    whole = np.floor(x)
    return np.asarray(whole + (x - whole >= 0.5))


def _half_away(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.sign(x) * _half_up(np.abs(x)))


_ROUND: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "half_even": np.rint,
    "half_up": _half_up,
    "half_away": _half_away,
}
