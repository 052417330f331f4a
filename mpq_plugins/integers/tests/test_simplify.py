"""Fewer steps, equal outputs: clamps that bind nothing are gone, the others belong to the step before."""

from dataclasses import replace

import numpy as np

from mpq_plugins.integers import run
from mpq_plugins.integers.simplify import simplify
from mpq_plugins.integers.steps import Bound, Clamp, Reshape
from mpq_plugins.integers.tests.programs import codes, every_step, tensor

LINEAR = every_step()["linear"]


def followed(*steps, outputs, tensors=("a", "b")):
    return replace(
        LINEAR,
        steps=(*LINEAR.steps, *steps),
        tensors=(*LINEAR.tensors, *(tensor(n, 3, 6) for n in tensors)),
        outputs=outputs,
    )


def same_outputs(program, simpler):
    x = codes((4, 3, 7))
    before, after = run(program, x), run(simpler, x)
    pairs = zip(program.outputs, simpler.outputs, strict=True)
    return all(np.array_equal(before[a], after[b]) for a, b in pairs)


def test_clamps_after_a_layer_become_its_last_stage():
    program = followed(Bound("a", ("o",), 0, 100), Bound("b", ("a",), -5, 60), outputs=("b",))
    simpler = simplify(program)
    assert [step.op for step in simpler.steps] == ["linear"]
    assert simpler.steps[0].stages[-1] == Clamp(0, 60)
    assert same_outputs(program, simpler)


def test_a_layer_that_somebody_else_reads_keeps_its_own_range():
    program = followed(Bound("a", ("o",), 0, 100), outputs=("o", "a"), tensors=("a",))
    simpler = simplify(program)
    assert [step.op for step in simpler.steps] == ["linear", "clamp"]
    assert same_outputs(program, simpler)


def test_two_clamps_of_one_layer_stay_apart():
    program = followed(Bound("a", ("o",), 0, 100), Bound("b", ("o",), -9, 9), outputs=("a", "b"))
    simpler = simplify(program)
    assert [step.op for step in simpler.steps] == ["linear", "clamp", "clamp"]
    assert same_outputs(program, simpler)


def test_what_does_nothing_is_gone():
    program = followed(Bound("a", ("o",), -128, 127), Reshape("b", ("a",)), outputs=("b", "a"))
    simpler = simplify(program)
    assert [step.op for step in simpler.steps] == ["linear"]
    assert simpler.outputs == ("o", "o")
    assert same_outputs(program, simpler)
