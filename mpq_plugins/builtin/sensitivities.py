"""kl, sqnr and fisher with their default arguments, and the best mask."""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.builtin.second_order import SecondOrder
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.sensitivity.divergence import Divergence
from mpq_plugins.sensitivity.masking import BEST_MASK
from mpq_plugins.sensitivity.noise import Noise
from mpq_plugins.sensitivity.rating import Sensitivity


@hookimpl
def mpq_register_sensitivities(register: Callable[[Sensitivity], None]) -> None:
    """Register them."""
    for one in (Divergence(), Noise(), SecondOrder(), BEST_MASK):
        register(one)
