"""kl, sqnr and fisher with their default arguments, and the best mask."""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.sensitivities.divergence import Divergence
from mpq_plugins.sensitivities.masking import BEST_MASK
from mpq_plugins.sensitivities.noise import Noise
from mpq_plugins.sensitivities.rating import Sensitivity
from mpq_plugins.sensitivities.second_order import SecondOrder


@hookimpl
def mpq_register_sensitivities(register: Callable[[Sensitivity], None]) -> None:
    """Register them."""
    for one in (Divergence(), Noise(), SecondOrder(), BEST_MASK):
        register(one)
