"""Where in one array of codes each tensor of a program lies, so that those alive at once do not overlap."""

from __future__ import annotations

from dataclasses import dataclass

from mpq_plugins.integers.program import Program
from mpq_plugins.integers.steps import Constant, Reshape


@dataclass(frozen=True)
class MemoryPlan:
    """offsets: tensor name -> its first code. home: tensor name -> the tensor in whose place its codes are.

    Inputs and constants have a place of their own and no offset. size: codes in all.
    """

    offsets: dict[str, int]
    home: dict[str, str]
    size: int


def plan_memory(program: Program) -> MemoryPlan:
    """Lay the tensors out, the largest first, each at the first place that is free while it lives.

    >>> from mpq_plugins.integers.program import Entrance, Tensor
    >>> from mpq_plugins.integers.steps import Bound
    >>> names = ("x", "a", "b", "c")
    >>> tensors = tuple(Tensor(name, (4,), 8, True, 0) for name in names)
    >>> steps = tuple(Bound(to, (of,), 0, 1) for of, to in zip(names, names[1:]))
    >>> enter = Entrance("x", "half_even", -128, 127)
    >>> program = Program("p", "t", "f", "channels_last", tensors, (), (), (enter,), ("c",), steps)
    >>> plan_memory(program).offsets
    {'a': 0, 'b': 4, 'c': 0}
    """
    home: dict[str, str] = {entrance.tensor: entrance.tensor for entrance in program.inputs}
    outside = set(home)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, step in enumerate(program.steps):
        home[step.output] = home[step.inputs[0]] if isinstance(step, Reshape) else step.output
        if isinstance(step, Constant):
            outside.add(step.output)
        first.setdefault(home[step.output], index)
        for name in (step.output, *step.inputs):
            last[home[name]] = index
    for name in program.outputs:
        last[home[name]] = len(program.steps)
    sizes = {name: program.tensor(name).elements for name in first if name not in outside}
    offsets: dict[str, int] = {}
    for name in sorted(sizes, key=lambda n: (-sizes[n], first[n])):
        alive = [
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if first[other] <= last[name] and first[name] <= last[other]
        ]
        offsets[name] = _first_gap(sorted(alive), sizes[name])
    size = max((offsets[name] + sizes[name] for name in offsets), default=0)
    return MemoryPlan({name: offsets[name] for name in sizes}, home, size)


def _first_gap(taken: list[tuple[int, int]], size: int) -> int:
    start = 0
    for low, high in taken:
        if low - start >= size:
            break
        start = max(start, high)
    return start
