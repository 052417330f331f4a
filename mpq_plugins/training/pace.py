"""Pace: how fast a quantizer's own parameters move, whatever the optimizer and the network's learning rate."""

from __future__ import annotations

from mpq_plugins.array_ops.protocol import Array, Ops

DECAY = 0.99
AUDIBLE = 1000.0
"""Multiple of the network's learning rate at which paced parameters train: large enough that no change is
lost in float32 before it is measured, and of no other effect, since only relative changes count."""
_TINY = 1e-18


def paced(
    ops: Ops, parameter: Array, previous: Array, moment: Array, rate: float | Array, decay: float = DECAY
) -> tuple[Array, Array]:
    """The parameter after a step of usual length ``rate`` in the direction of the optimizer's, and the new moment.

    The optimizer's change of each element is divided by the root of its running mean square (moment), or
    by its own size where that is larger, so that no step is longer than ``rate``. Papers train these
    parameters by Adam, RAdam or RMSProp at a rate of their own; with this, they move at that rate under any
    optimizer of the network, plain SGD too, and under any scaling of the loss.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> value, moment = paced(NUMPY, 1.0 - 1e-6, 1.0, 0.0, rate=0.1)
    >>> round(float(value), 6)
    0.9
    """
    change = parameter - previous
    square = change * change
    moment = decay * moment + (1.0 - decay) * square
    return previous + rate * change / (ops.sqrt(ops.maximum(moment, square)) + _TINY), moment
