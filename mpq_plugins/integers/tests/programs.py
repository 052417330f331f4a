"""Small integer programs, one for each step, with codes to run them on."""

from __future__ import annotations

import numpy as np

from mpq_plugins.integers.program import Bias, Entrance, Program, Tensor, Weight
from mpq_plugins.integers.steps import (
    Add,
    AveragePool,
    Bound,
    Clamp,
    Concat,
    Constant,
    Conv,
    Divide,
    Linear,
    MaxPool,
    Mean,
    Move,
    Multiply,
    Reshape,
    Shift,
    Significant,
)
from mpq_plugins.integers.table_steps import Lookup

CLAMP = Clamp(-128, 127)


def tensor(name, *shape, bits=8, exponent=-3):
    return Tensor(name, shape, bits, True, exponent)


def program(inputs, output, step, layout="channels_last", weights=(), biases=(), arrays=None, before=(), between=()):
    """A program of one step (after ``before``, which write ``between``), every input signed."""
    return Program(
        "small",
        "generic-po2",
        "none",
        layout,
        (*inputs, *between, output),
        tuple(weights),
        tuple(biases),
        tuple(Entrance(t.name, "half_even", t.low, t.high) for t in inputs),
        (output.name,),
        (*before, step),
        arrays=arrays or {},
    )


def codes(shape, seed=0, bits=8):
    """Random signed codes."""
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


def layer(step, inputs, output, shape, layout="channels_last"):
    """A program of one layer with random weights."""
    weight, bias = Weight("w", shape, 8, (-5,)), Bias("b", (-8,))
    arrays = {"w": codes(shape, 1).astype(np.int8), "b": codes(shape[0], 2, 16).astype(np.int32)}
    return program((inputs,), output, step, layout, (weight,), (bias,), arrays)


def every_step():
    """Name -> program, with each kind of step and stage at least once."""
    x, y = tensor("x", 6, 5, 4), tensor("y", 6, 5, 4)
    down = (Shift((9,), "half_even"), CLAMP)
    by_channel = (Shift((9, 3, -1, 0, 12, 7), "half_away"), CLAMP)
    geometry = {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2)}
    one, move = ("x",), {"before": (0,) * 3, "step": (1,) * 3, "repeat": (1,) * 3, "insert": (1,) * 3}
    conv = Conv("o", one, "w", "b", **geometry, groups=1, accumulator_bits=32, stages=by_channel)
    wide = (Significant(24), Shift((9,), "half_up"), CLAMP)
    depthwise = Conv("o", one, "w", "b", (1, 1), (1, 1, 1, 1), (1, 1), groups=4, accumulator_bits=64, stages=wide)
    mean = (Multiply(8947849), Significant(24), Shift((28,), "half_even"), CLAMP)
    table = {"t": codes(256, 3).astype(np.int32)}
    constant = Constant("k", "k")
    return {
        "conv": layer(conv, x, tensor("o", 3, 4, 6), (6, 3, 2, 4)),
        "conv, channels first": layer(conv, tensor("x", 4, 6, 5), tensor("o", 6, 3, 4), (6, 3, 2, 4), "channels_first"),
        "depthwise": layer(depthwise, x, tensor("o", 6, 5, 4), (4, 3, 3, 1)),
        "signal": layer(
            Conv("o", one, "w", "b", (1, 2), (0, 0, 1, 1), (1, 1), 2, 32, down),
            tensor("x", 9, 4),
            tensor("o", 5, 6),
            (6, 1, 3, 2),
        ),
        "linear": layer(Linear("o", one, "w", "b", 32, by_channel), tensor("x", 3, 7), tensor("o", 3, 6), (6, 7)),
        "add": program(
            (x, tensor("y", 6, 5, 4, exponent=-5)),
            tensor("o", 6, 5, 4),
            Add("o", ("x", "y"), (2, 0), 32, (Shift((2,), "half_away"), CLAMP)),
        ),
        "add, repeated": program(
            (x, tensor("y", 4)), tensor("o", 6, 5, 4), Add("o", ("x", "y"), (0, 1), 32, (Shift((1,), "half_up"), CLAMP))
        ),
        "mean": program((x,), tensor("o", 4), Mean("o", one, (0, 1), 64, mean)),
        "mean of columns": program((x,), tensor("o", 6, 4), Mean("o", one, (1,), 32, (Divide(5, "half_even"),))),
        "max pool": program((x,), tensor("o", 3, 4, 4), MaxPool("o", one, (3, 2), (2, 1), (1, 1, 0, 0), (1, 1))),
        "average pool": program(
            (x,), tensor("o", 3, 3, 4), AveragePool("o", one, (3, 2), (2, 2), (1, 1, 1, 1), False, -128, "half_away")
        ),
        "average pool, padding counted": program(
            (x,), tensor("o", 3, 3, 4), AveragePool("o", one, (3, 2), (2, 2), (1, 1, 1, 1), True, 0, "half_even")
        ),
        "clamp": program((x,), tensor("o", 6, 5, 4), Bound("o", one, -3, 40)),
        "lookup": program((x,), tensor("o", 6, 5, 4), Lookup("o", one, "t", -128), arrays=table),
        "concat": program((x, y), tensor("o", 6, 10, 4), Concat("o", ("x", "y"), 1)),
        "pad": program((x,), tensor("o", 9, 6, 4), Move("o", one, "pad", (0, 1, 2), **{**move, "before": (2, 0, 0)})),
        "slice": program((x,), tensor("o", 3, 2, 4), Move("o", one, "slice", (0, 1, 2), **{**move, "step": (2, 4, 1)})),
        "repeat": program(
            (x,), tensor("o", 12, 15, 4), Move("o", one, "repeat", (0, 1, 2), **{**move, "repeat": (2, 3, 1)})
        ),
        "transpose": program((x,), tensor("o", 4, 6, 5), Move("o", one, "transpose", (2, 0, 1), **move)),
        "zero stuff": program(
            (x,),
            tensor("o", 12, 15, 4),
            Move("o", one, "zero_stuff", (0, 1, 2), **{**move, "insert": (2, 3, 1), "before": (1, -1, 0)}),
        ),
        "reshape": program((x,), tensor("o", 10, 12), Reshape("o", one)),
        "constant": program(
            (x,),
            tensor("o", 6, 5, 4),
            Add("o", ("x", "k"), (0, 0), 32, (CLAMP,)),
            arrays={"k": codes((6, 5, 4), 4).astype(np.int32)},
            before=(constant,),
            between=(tensor("k", 6, 5, 4),),
        ),
    }
