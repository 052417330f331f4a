"""A program with fewer steps that gives the same outputs: clamps fused into the step that they follow."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mpq_plugins.integers.program import Program, arrays_of
from mpq_plugins.integers.steps import STAGED, Bound, Clamp, Reshape, Step


def simplify(program: Program) -> Program:
    """Drop clamps that bind nothing, fuse the others into accumulating steps that nobody else reads.

    A fused step writes under its own name. Tensors and arrays that nothing uses any more are gone.
    """
    program = _without_idle_steps(program)
    readers = Counter(name for step in program.steps for name in step.inputs)
    readers.update(program.outputs)
    steps: dict[str, Step] = {}
    renamed: dict[str, str] = {}
    for step in program.steps:
        step = replace(step, inputs=tuple(renamed.get(name, name) for name in step.inputs))  # type: ignore[arg-type]
        before = steps.get(step.inputs[0]) if isinstance(step, Bound) else None
        if isinstance(step, Bound) and isinstance(before, STAGED) and readers[before.output] == 1:
            steps[before.output] = _clamped(before, step)
            renamed[step.output] = before.output
            readers[before.output] = readers[step.output]
            continue
        steps[step.output] = step
    return _swept(program, tuple(steps.values()), renamed)


def _without_idle_steps(program: Program) -> Program:
    """Without clamps whose bounds the grid of their input keeps already, and reshapes to the same shape."""
    kept: list[Step] = []
    renamed: dict[str, str] = {}
    for step in program.steps:
        step = replace(step, inputs=tuple(renamed.get(name, name) for name in step.inputs))  # type: ignore[arg-type]
        if isinstance(step, Bound | Reshape):
            source = program.tensor(step.inputs[0])
            if isinstance(step, Bound):
                idle = step.low <= source.low and step.high >= source.high
            else:
                idle = source.shape == program.tensor(step.output).shape
            if idle:
                renamed[step.output] = source.name
                continue
        kept.append(step)
    return _swept(program, tuple(kept), renamed)


def _clamped(step: Step, bound: Bound) -> Step:
    """The step with the clamp after its own: the bounds of the first, clamped by those of the second."""
    assert isinstance(step, STAGED)
    last = step.stages[-1] if step.stages else None
    if not isinstance(last, Clamp):
        return replace(step, stages=(*step.stages, Clamp(bound.low, bound.high)))
    low, high = (min(max(code, bound.low), bound.high) for code in (last.low, last.high))
    return replace(step, stages=(*step.stages[:-1], Clamp(low, high)))


def _swept(program: Program, steps: tuple[Step, ...], renamed: dict[str, str]) -> Program:
    used = {name for step in steps for name in (step.output, *step.inputs, *arrays_of(step))}
    used.update(entrance.tensor for entrance in program.inputs)
    return replace(
        program,
        steps=steps,
        outputs=tuple(renamed.get(name, name) for name in program.outputs),
        tensors=tuple(t for t in program.tensors if t.name in used),
        weights=tuple(w for w in program.weights if w.name in used),
        biases=tuple(b for b in program.biases if b.name in used),
        arrays={name: array for name, array in program.arrays.items() if name in used},
    )
