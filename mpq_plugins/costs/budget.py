"""Budget: what a solution may cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from mpq_plugins.errors import BudgetError


@dataclass(frozen=True)
class Budget:
    """Upper limits of what a solution may cost; any of them, at least one.

    weight_bytes: bytes of all weights at their own bit-widths (not at their containers').
    activation_bytes: the most bytes of activations that are in memory at once, for one sample.
    average_weight_bits: bits per weight, averaged over weight elements.
    bops: bit operations of one sample: MACs times weight bits times input activation bits.
    latency_ms: milliseconds of one sample, by the latency table that the search is given.
    average_activation_bits: bits per element of the activations of one sample, over all sites, inputs and outputs too.
    other: limits of resources whose cost models come from plug-ins, by registered name.

    Raises BudgetError when no limit is set, or a limit is not a positive finite number.

    >>> budget = Budget(weight_bytes=65536, bops=2e9)
    >>> budget.limits()
    {'weight_bytes': 65536.0, 'bops': 2000000000.0}
    >>> print(budget)
    weight bytes <= 65,536, bops <= 2,000,000,000
    """

    weight_bytes: float | None = None
    activation_bytes: float | None = None
    average_weight_bits: float | None = None
    bops: float | None = None
    latency_ms: float | None = None
    average_activation_bits: float | None = None
    other: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in _OWN:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _limit(name, value))
        if not isinstance(self.other, Mapping):
            raise BudgetError(f"other maps names of cost models to limits, got {self.other!r}")
        for name in self.other:
            if name in _OWN:
                raise BudgetError(f"{name} is a field of Budget: set it there and not in other")
        object.__setattr__(self, "other", {str(name): _limit(name, value) for name, value in self.other.items()})
        if not self.limits():
            raise BudgetError(f"a budget needs at least one limit; set one of {', '.join(_OWN)}, or other")

    def limits(self) -> dict[str, float]:
        """The limits that are set, by resource: this class's fields in order, then the others."""
        own = {name: getattr(self, name) for name in _OWN}
        return {name: float(value) for name, value in (own | dict(self.other)).items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; unset fields are left out. ``from_dict`` takes them back.

        >>> Budget.from_dict(Budget(latency_ms=3.5).to_dict())  # doctest: +ELLIPSIS
        Budget(weight_bytes=None, ..., latency_ms=3.5, average_activation_bits=None, other={})
        """
        own = {name: getattr(self, name) for name in _OWN if getattr(self, name) is not None}
        return own | ({"other": dict(self.other)} if self.other else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Budget:
        """The budget of ``to_dict``; raises BudgetError on a name that is no field."""
        unknown = sorted(str(name) for name in set(values) - {*_OWN, "other"})
        if unknown:
            raise BudgetError(
                f"a budget has no {', '.join(unknown)}; it has {', '.join(_OWN)}, and other for plug-ins' resources"
            )
        return cls(**values)

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} <= {value:,.10g}" for name, value in self.limits().items())


def limits_of(budget: Budget | None) -> dict[str, float]:
    """Its limits by resource, none without a budget. Raises BudgetError for what is no Budget.

    >>> limits_of(None), limits_of(Budget(bops=2e9))
    ({}, {'bops': 2000000000.0})
    """
    if budget is not None and not isinstance(budget, Budget):
        raise BudgetError(f"a budget is a Budget, such as Budget(average_weight_bits=4), and not {budget!r}")
    return {} if budget is None else budget.limits()


_OWN = tuple(f.name for f in fields(Budget) if f.name != "other")


def _limit(name: str, value: object) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):  # type: ignore[arg-type,operator]
        raise BudgetError(f"the limit of {name} must be a positive finite number, got {value!r}")
    return float(value)  # type: ignore[arg-type]
