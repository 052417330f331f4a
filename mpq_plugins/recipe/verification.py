"""What comparing a converted model with its simulation gives, in every adapter."""

from __future__ import annotations

from dataclasses import dataclass

from mpq_plugins.errors import VerificationError

NEEDS = "verify needs what simulate returned as its second argument, or the model and, as the fourth, its recipe"
"""What ``verify`` says of other arguments."""


@dataclass(frozen=True)
class Verification:
    """What verify found.

    exact: every output element of the integer part is the same number. max_difference: largest absolute
    difference of an output element; mismatched of elements outputs differ. first_differing_site: the
    first site, in execution order, whose values differ; None when all are equal. off_by_one: mismatches
    of one step; None where they were not counted. compared: what of the model was compared how, in words.

    Where a model ends in float, "the integer part" is all that it computes up to its last integer tensors, and what
    lies behind is compared too: float_mismatched of float_elements are not, bit for bit, what the same runtime computes
    from the simulated integers alone. float_distance: their largest absolute difference from what the framework
    computes, whose exp is another; None where nothing is float. exact says both.
    """

    exact: bool
    max_difference: float
    mismatched: int
    elements: int
    first_differing_site: str | None = None
    off_by_one: int | None = None
    float_elements: int = 0
    float_mismatched: int = 0
    float_distance: float | None = None
    compared: str = ""

    def raise_if_different(self) -> None:
        """Raise VerificationError unless the two models agree exactly."""
        if not self.exact:
            raise VerificationError(str(self))

    def __bool__(self) -> bool:
        return self.exact

    def __str__(self) -> str:
        if self.exact:
            return self._when_exact()
        if not self.mismatched:
            return (
                f"all {self.elements} values at the end of the integer part are equal, and {self.float_mismatched} of "
                f"the {self.float_elements} output values behind float ops are not what the runtime computes from them"
            )
        steps = "" if self.off_by_one is None else f" ({self.off_by_one} of them by one step)"
        return (
            f"{self.mismatched} of {self.elements} output values differ, by at most {self.max_difference:g}{steps}; "
            f"the first site that differs is {self.first_differing_site or 'only the output'}"
        )

    def _when_exact(self) -> str:
        compared = f" ({self.compared})" if self.compared else ""
        if not self.float_elements:
            return f"exact: all {self.elements} output values are equal{compared}"
        distance = "" if self.float_distance is None else f", and at most {self.float_distance:g} from the framework's"
        return (
            f"exact: all {self.elements} values at the end of the integer part are equal; the {self.float_elements} "
            f"output values behind float ops are what the runtime computes from these, bit for bit{distance}{compared}"
        )
