"""Nonconforming: the one thing that checks of the conformance kit raise, in words for the author of what is checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Nonconforming(AssertionError):
    """Something breaks the contract; the message names it, the case, the numbers, and what is expected."""


def require(holds: Any, message: str) -> None:
    """Raise Nonconforming unless a condition holds.

    >>> require(1 < 2, "one is less than two")
    """
    __tracebackhide__ = True
    if not holds:
        raise Nonconforming(message)


def require_close(found: Any, expected: Any, message: str, relative: float = 1e-4, absolute: float = 1e-5) -> None:
    """Raise Nonconforming, with the worst element, unless two arrays agree to rounding.

    absolute: as a share of the largest expected magnitude, 1 at least.
    """
    __tracebackhide__ = True
    got, wanted = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    require(got.shape == wanted.shape, f"{message}: its shape is {got.shape}, and {wanted.shape} is expected")
    if not got.size:
        return
    require(np.all(np.isfinite(got)), f"{message}: it holds NaN or infinite values")
    wrong = np.abs(got - wanted) > absolute * max(1.0, float(np.abs(wanted).max())) + relative * np.abs(wanted)
    if wrong.any():
        raise Nonconforming(f"{message}: {_worst(got, wanted, wrong)}")


def require_equal(found: Any, expected: Any, message: str) -> None:
    """Raise Nonconforming, with the worst element, unless two arrays are equal, element by element."""
    __tracebackhide__ = True
    got, wanted = np.asarray(found), np.asarray(expected)
    require(got.shape == wanted.shape, f"{message}: its shape is {got.shape}, and {wanted.shape} is expected")
    if not np.array_equal(got, wanted):
        raise Nonconforming(f"{message}: {_worst(got, wanted, got != wanted)}")


def _worst(got: NDArray[Any], wanted: NDArray[Any], wrong: NDArray[np.bool_]) -> str:
    at = int(np.argmax(np.where(wrong, np.abs(got - wanted), -1)))
    return (
        f"{int(wrong.sum())} of {wrong.size} elements differ, the worst is {np.ravel(got)[at]:.9g} "
        f"where {np.ravel(wanted)[at]:.9g} is expected"
    )
