"""Which positions of a convolution's output are looked at, where all would be more than it takes."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = 2**14
"""Positions, over all samples, that the moments of one layer are measured on, or a few more."""


@dataclass(frozen=True)
class Thinning:
    """Every n-th row and column of an output, from an offset."""

    every: int = 1
    offset: tuple[int, int] = (0, 0)

    @classmethod
    def to_at_most(cls, columns: int, height: int, width: int, samples: int, grain: int) -> Thinning:
        """So that ``samples`` outputs of height x width give about ``columns`` positions.

        grain: number of a grain of samples (chunks.grains); each looks at another offset.

        >>> Thinning.to_at_most(16, 8, 8, samples=4, grain=5)
        Thinning(every=4, offset=(1, 1))
        """
        every = 1
        while samples * -(-height // every) * -(-width // every) > columns and every < min(height, width):
            every *= 2
        return cls(every, (grain % min(every, height), grain // every % min(every, width)))


EVERYWHERE = Thinning()
