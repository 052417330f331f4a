"""Hyper-parameters: what is refused, by name, before a training starts."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.errors import MPQError


def check_ranges(method: str, limits: Mapping[str, tuple[float, float, float]]) -> None:
    """Raise MPQError naming the first hyper-parameter whose value lies outside: name -> (value, low, high).

    >>> check_ranges("hmq", {"rate": (0.05, 0.0, 1.0)})
    """
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise MPQError(f"{method}: {name} must be from {low:g} to {high:g}, got {value!r}")
