"""Every step against its definition, element by element in plain Python, and the C kernels against NumPy's."""

import itertools
import math
import re
from fractions import Fraction
from importlib import resources

import numpy as np
import pytest

from mpq_plugins.integers import run, trace
from mpq_plugins.integers.steps import AveragePool, Conv, MaxPool, Mean, Move
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_plugins.integers.tests.programs import codes, every_step
from mpq_plugins.integers.tests.test_stages import rounded

PROGRAMS = every_step()


def inputs_of(program, samples=3):
    return {e.tensor: codes((samples, *program.tensor(e.tensor).shape), seed) for seed, e in enumerate(program.inputs)}


def image(x, layout):
    """One sample as [rows][columns][channels]."""
    x = np.moveaxis(x, 0, -1) if layout == "channels_first" else x
    return x[None] if x.ndim == 2 else x


def window(step, size, at):
    """The input positions of one window, and whether each is inside."""
    dilation = getattr(step, "dilation", (1, 1))
    top, left = step.padding[0], step.padding[2]
    kernel = step.kernel
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        r = at[0] * step.stride[0] - top + i * dilation[0]
        c = at[1] * step.stride[1] - left + j * dilation[1]
        yield (i, j), (r, c), 0 <= r < size[0] and 0 <= c < size[1]


@pytest.mark.parametrize("name", [n for n, p in PROGRAMS.items() if isinstance(p.steps[-1], (MaxPool, AveragePool))])
def test_pooling_takes_the_largest_or_the_mean_of_each_window(name):
    program = PROGRAMS[name]
    step, given = program.steps[-1], inputs_of(program, 1)
    (got,) = run(program, given).values()
    x, y = image(given["x"][0], program.layout), image(got[0], program.layout)
    for r, c, o in np.ndindex(y.shape):
        found = list(window(step, x.shape[:2], (r, c)))
        inside = [int(x[at][o]) for _, at, there in found if there]
        if isinstance(step, MaxPool):
            assert y[r, c, o] == max(inside)
            continue
        bottom, right = x.shape[0] + step.padding[1], x.shape[1] + step.padding[3]
        counted = sum(at[0] < bottom and at[1] < right for _, at, _ in found) if step.counts_padding else len(inside)
        mean = Fraction(sum(value + step.offset for value in inside), counted)
        assert y[r, c, o] == rounded(mean, step.rounding) - step.offset


@pytest.mark.parametrize("name", [n for n, p in PROGRAMS.items() if isinstance(p.steps[-1], Conv)])
def test_a_convolution_is_a_shifted_sum_of_products(name):
    program = PROGRAMS[name]
    step, given = program.steps[-1], inputs_of(program, 1)
    weight, bias = program.arrays["w"].astype(int), program.arrays["b"].astype(int)
    (got,) = run(program, given).values()
    x, y = image(given["x"][0], program.layout), image(got[0], program.layout)
    shift = next(stage for stage in step.stages if stage.kind == "shift")
    channels, each = x.shape[2] // step.groups, len(weight) // step.groups
    kernel = type("Window", (), {**vars(step), "kernel": weight.shape[1:3]})
    for r, c, o in np.ndindex(y.shape):
        total = bias[o]
        for tap, at, there in window(kernel, x.shape[:2], (r, c)):
            first = o // each * channels
            total += sum(x[at][first : first + channels] * weight[o][tap]) if there else 0
        amount = shift.amounts[o % len(shift.amounts)]
        code = rounded(Fraction(int(total)) / Fraction(2) ** amount, shift.rounding)
        assert y[r, c, o] == min(max(code, -128), 127)


@pytest.mark.parametrize("name", [n for n, p in PROGRAMS.items() if isinstance(p.steps[-1], Move)])
def test_a_move_gives_each_position_one_element_or_zero(name):
    program = PROGRAMS[name]
    step, given = program.steps[-1], inputs_of(program, 1)
    (got,) = run(program, given).values()
    x = given["x"][0]
    expected = {
        "pad": lambda: np.pad(x, ((2, 1), (0, 1), (0, 0))),
        "slice": lambda: x[::2, ::4],
        "repeat": lambda: x.repeat(2, 0).repeat(3, 1),
        "transpose": lambda: x.transpose(2, 0, 1),
        "zero_stuff": lambda: _stuffed(x),
    }[step.kind]()
    assert np.array_equal(got[0], expected)


def _stuffed(x):
    """A row of zeros above, one between the rows, two between the columns, the first column gone."""
    spread = np.zeros((6, 2, 5, 3, 4), int)
    spread[:, 0, :, 0] = x
    padded = np.pad(spread.reshape(12, 15, 4), ((1, 0), (0, 1), (0, 0)))
    return padded[:12, 1:]


@pytest.mark.parametrize("name", [n for n, p in PROGRAMS.items() if isinstance(p.steps[-1], Mean)])
def test_a_mean_is_the_sum_times_the_reciprocal_of_the_count(name):
    program = PROGRAMS[name]
    given = inputs_of(program)
    (got,) = run(program, given).values()
    axes = tuple(axis + 1 for axis in program.steps[-1].axes)
    count = math.prod(given["x"].shape[axis] for axis in axes)
    assert np.array_equal(got, np.rint(given["x"].sum(axes).astype(np.float32) * np.float32(1 / count)))


def test_an_add_brings_both_operands_to_the_finer_step_first():
    program = PROGRAMS["add"]
    x, y = np.full((1, 6, 5, 4), 5), np.full((1, 6, 5, 4), -2)
    (got,) = run(program, {"x": x, "y": y}).values()
    # 5 * 2**-3 - 2 * 2**-5 = 4.5 * 2**-3, and ties go away from zero
    assert set(got.ravel()) == {5}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_tensor_of_a_run_is_of_integers(name):
    program = PROGRAMS[name]
    assert {array.dtype for array in trace(program, inputs_of(program)).values()} == {np.dtype(np.int32)}


def test_the_c_kernels_know_neither_float_nor_double():
    text = (resources.files("mpq_plugins.integers") / "c" / "mpq_integers.h").read_text()
    assert re.findall(r"\b(?:float|double)\b|math\.h", text) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_c_program_gives_the_codes_of_numpy(name, tmp_path):
    program = PROGRAMS[name]
    given = inputs_of(program)
    assert np.array_equal(c_outputs(program, given, tmp_path), joined(program, run(program, given)))
