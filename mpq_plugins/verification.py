"""What comparing a converted model with its simulation gives, in every adapter."""

from __future__ import annotations

from dataclasses import dataclass

from mpq_plugins.errors import VerificationError


@dataclass(frozen=True)
class Verification:
    """What verify found.

    exact: every output element of the integer part is the same number. max_difference: largest absolute
    difference of an output element; mismatched of elements outputs differ. first_differing_site: the
    first site, in execution order, whose values differ; None when all are equal. off_by_one: mismatches
    of one step; None where they were not counted. compared: what of the model was compared how, in words.
    """

    exact: bool
    max_difference: float
    mismatched: int
    elements: int
    first_differing_site: str | None = None
    off_by_one: int | None = None
    compared: str = ""

    def raise_if_different(self) -> None:
        """Raise VerificationError unless the two models agree exactly."""
        if not self.exact:
            raise VerificationError(str(self))

    def __bool__(self) -> bool:
        return self.exact

    def __str__(self) -> str:
        if self.exact:
            what = f" ({self.compared})" if self.compared else ""
            return f"exact: all {self.elements} output values are equal{what}"
        steps = "" if self.off_by_one is None else f" ({self.off_by_one} of them by one step)"
        return (
            f"{self.mismatched} of {self.elements} output values differ, by at most {self.max_difference:g}{steps}; "
            f"the first site that differs is {self.first_differing_site or 'only the output'}"
        )
