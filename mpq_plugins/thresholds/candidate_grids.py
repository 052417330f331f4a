"""CandidateGrids: the power-of-two grids that one error table compares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mpq_plugins.errors import ThresholdError
from mpq_plugins.grid import Grid

EXPONENT_LIMIT = 900


@dataclass(frozen=True)
class CandidateGrids:
    """Every pair of a bit-width and a threshold ``2**exponent``, all of one signedness.

    Raises ThresholdError on an empty, repeating or extreme list, GridError on impossible bits.

    >>> grids = CandidateGrids((2, 8), (-7, 0), signed=True)
    >>> grids.widest_shift, grids.finest_half_step
    (7, -15)
    """

    bits: tuple[int, ...]
    exponents: tuple[int, ...]
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        if not self.bits or not self.exponents:
            raise ThresholdError("an error table needs at least one bit-width and one exponent")
        if len(set(self.bits)) < len(self.bits) or len(set(self.exponents)) < len(self.exponents):
            raise ThresholdError(f"bits {self.bits} and exponents {self.exponents} must not repeat")
        if max(abs(e) for e in self.exponents) > EXPONENT_LIMIT:
            raise ThresholdError(f"exponents must be from {-EXPONENT_LIMIT} to {EXPONENT_LIMIT}, got {self.exponents}")
        for b in self.bits:
            Grid.power_of_two(b, 0, self.signed, self.narrow)

    @classmethod
    def of(
        cls, bits: Iterable[int], exponents: Iterable[int], signed: bool = True, narrow: bool = False
    ) -> CandidateGrids:
        """The grids of any iterables of whole numbers."""
        return cls(tuple(int(b) for b in bits), tuple(int(e) for e in exponents), bool(signed), bool(narrow))

    @property
    def shifts(self) -> tuple[int, ...]:
        """Halvings from the threshold to the step, for each bit-width."""
        return tuple(b - int(self.signed) for b in self.bits)

    @property
    def widest_shift(self) -> int:
        """The largest of the shifts."""
        return max(self.shifts)

    @property
    def finest_half_step(self) -> int:
        """Base-two logarithm of half of the finest step."""
        return min(self.exponents) - self.widest_shift - 1

    @property
    def shape(self) -> tuple[int, int]:
        """(bit-widths, exponents)."""
        return len(self.bits), len(self.exponents)

    def codes(self, bits: int) -> tuple[int, int]:
        """Smallest and largest code at a bit-width."""
        low = -(2 ** (bits - 1)) + int(self.narrow) if self.signed else 0
        return low, 2 ** (bits - int(self.signed)) - 1

    def by_step(self) -> dict[int, list[tuple[int, int]]]:
        """Positions (bit-width, exponent) of the grids that share each step ``2**key``."""
        members: dict[int, list[tuple[int, int]]] = {}
        for i, shift in enumerate(self.shifts):
            for k, e in enumerate(self.exponents):
                members.setdefault(e - shift, []).append((i, k))
        return members
