"""Loss terms and scales: what is over a budget, and, for training at fixed, few bits, bins, entropy, distillation.

The latter are from SDQ (2206.04459), section 4, whose second phase trains with ``distillation`` + 0.1 *
``bin_regularization``. Its exact weighting is not public; these are the forms of its sources (Bin
Regularization, ICCV 2021; N2UQ; MEAL).
"""

from __future__ import annotations

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.errors import MPQError
from mpq_plugins.training import schedules
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Spent

ENTROPY_AWARE = 0.1
"""Best weight of bin_regularization beside distillation, by SDQ's table 4."""


def over_target(ops: Ops, spent: Spent, start_rate: float, rise: Array) -> Array:
    """relu(cost / target - 1) of one resource, whose target falls to its limit from that of ``start_rate``.

    rise: how far the compression rate to reach has risen, 0 .. 1.
    """
    rate = schedules.rising_rate(start_rate, spent.float_cost / spent.limit, rise)
    return ops.relu(spent.cost * rate / spent.float_cost - 1.0)


def bin_regularization(ops: Ops, x: Array, step: Array, low: int, high: int, bank: Bank | None = None) -> Array:
    """Sum over bins of (mean - level)**2 + variance; 0 where every weight lies on its level.

    A bin holds the weights whose code is one of low .. high; for each, (mean - level)**2 + population
    variance is the mean squared error, so that sparse bins count as much as full ones. Empty bins add 0.
    step: a number, or an array that broadcasts against x. Gradient: 2 (w - level) / n of the bin.
    bank: where x holds the elements of its groups, each of which has bins of its own.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> import numpy as np
    >>> x = np.array([-0.9, -1.1, -0.05, 0.05, 0.15, 1.2])
    >>> round(float(bin_regularization(NUMPY, x, 1.0, -1, 1)), 8)
    0.05916667
    """

    quantized = ops.stop_gradient(ops.fake_quantize(x, step, low, high))
    places, bins, groups = ops.round(quantized / step) - low, high - low + 1, 1
    if bank is not None:
        groups = len(bank.slots)
        first = ops.array([float(bins * index) for index in range(groups)], x)
        places = places + bank.spread(ops, first, "group", "element")
    members = ops.count_alike(ops.reshape(ops.stop_gradient(places), [-1]), bins * groups)
    error = ops.reshape(x - quantized, [-1])
    return ops.sum(error * error / members)


def entropy_scale(ops: Ops, x: Array, bits: Array) -> Array:
    """2**(b-1) / (2**b - 1) * numel / |x|_1: with it, levels from -1 to 1 are about equally likely.

    A number without gradient; that of an all-zero x is finite.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> import numpy as np
    >>> round(float(entropy_scale(NUMPY, np.array([0.5, -0.25, 0.75]), 2)), 6)
    1.333333
    """
    size = ops.maximum(ops.mean(ops.abs(ops.stop_gradient(x))), ops.array(1e-12, x))
    return 2.0 ** (bits - 1.0) / (2.0**bits - 1.0) / size


def distillation(ops: Ops, logits: Array, teacher: Array, temperature: float = 1.0) -> Array:
    """Cross-entropy to the teacher's soft labels alone: -mean over samples of sum p_T log p_S.

    logits, teacher: [..., classes]; the teacher gets no gradient. Raises MPQError where shapes differ, or
    the temperature is not positive.

    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> import numpy as np
    >>> round(float(distillation(NUMPY, np.zeros((1, 2)), np.array([[0.0, 3.0]]))), 6)
    0.693147
    """
    if tuple(logits.shape) != tuple(teacher.shape):
        raise MPQError(
            f"the teacher's outputs have shape {tuple(teacher.shape)} and the student's {tuple(logits.shape)}; "
            "distillation needs a teacher of the same classes on the same batch"
        )
    if not temperature > 0:
        raise MPQError(f"the temperature of distillation must be positive, got {temperature}")
    classes = int(logits.shape[-1])
    student = ops.reshape(logits, [-1, classes]) / temperature
    student = student - ops.reshape(ops.stop_gradient(ops.max(student, axis=-1)), [-1, 1])
    soft = ops.softmax(ops.reshape(ops.stop_gradient(teacher), [-1, classes]) / temperature)
    inner = ops.sum(soft * student, axis=-1)
    return ops.mean(ops.log(ops.sum(ops.exp(student), axis=-1)) - inner)


def mixed_distillation(
    ops: Ops, logits: Array, teacher: Array, hard_loss: Array, weight: float = 0.9, temperature: float = 4.0
) -> Array:
    """weight * temperature**2 * distillation + (1 - weight) * hard_loss, the loss on the true labels."""
    if not 0 <= weight <= 1:
        raise MPQError(f"the weight of distillation must be from 0 to 1, got {weight}")
    soft = temperature**2 * distillation(ops, logits, teacher, temperature)
    return weight * soft + (1.0 - weight) * hard_loss
