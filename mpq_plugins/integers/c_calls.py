"""The C call of each step: which kernel of mpq_integers.h, with which numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from mpq_plugins.errors import ProgramError
from mpq_plugins.integers.program import Program
from mpq_plugins.integers.steps import (
    Add,
    AveragePool,
    Bound,
    Clamp,
    Concat,
    Conv,
    Divide,
    Linear,
    Lookup,
    Matmul,
    MaxPool,
    Mean,
    Move,
    Multiply,
    Normalize,
    Product,
    Shift,
    Significant,
    Softmax,
    Stage,
    Staged,
    Step,
)

AXES = 4
"""Most axes of a tensor that the C kernels take, besides the samples."""
ROUNDINGS = {"half_even": "MPQ_HALF_EVEN", "half_up": "MPQ_HALF_UP", "half_away": "MPQ_HALF_AWAY"}


def calls(program: Program, step: Step, at: Callable[[str], str], symbol: Callable[[str], str]) -> list[str]:
    """The statements that compute a step; none for one that computes nothing (a constant, a reshape).

    at: the C expression of a tensor's first code. symbol: the C name of an array or of a step's stages.
    Raises ProgramError for steps that more than four axes take part in, neighbours that stay together being one.
    """
    make: Callable[..., list[str]] | None = _CALLS.get(type(step))
    return [] if make is None else make(program, step, at, symbol)


def stage_row(stage: Stage) -> tuple[str, ...]:
    """Kind, rounding and two numbers of a stage, as the rows of mpq_stage have them."""
    rounding = ROUNDINGS[stage.rounding if isinstance(stage, Shift | Divide) else "half_even"]
    if isinstance(stage, Shift):
        return "MPQ_SHIFT", rounding, str(stage.amounts[0] if len(stage.amounts) == 1 else 0), "0"
    if isinstance(stage, Significant):
        return "MPQ_SIGNIFICANT", rounding, str(stage.bits), "0"
    if isinstance(stage, Multiply):
        return "MPQ_MULTIPLY", rounding, str(stage.factor), "0"
    if isinstance(stage, Divide):
        return "MPQ_DIVIDE", rounding, str(stage.count), "0"
    assert isinstance(stage, Clamp)
    return "MPQ_CLAMP", rounding, str(stage.low), str(stage.high)


def _conv(program: Program, step: Conv, at: Any, symbol: Any) -> list[str]:
    kernel = program.weight(step.weight).shape[1:3]
    window = _window(kernel, step.stride, step.dilation, step.padding)
    return [
        f"mpq_conv({at(step.inputs[0])}, {_image(program, step.inputs[0])}, {at(step.output)}, "
        f"{_image(program, step.output)},",
        f"         {symbol(step.weight)}, {symbol(step.bias)}, {window}, {step.groups}, {_stages(step, symbol)});",
    ]


def _linear(program: Program, step: Linear, at: Any, symbol: Any) -> list[str]:
    outputs, inputs = program.weight(step.weight).shape
    positions = program.tensor(step.output).elements // outputs
    return [
        f"mpq_linear({at(step.inputs[0])}, {at(step.output)}, {positions}, {inputs}, {outputs},",
        f"           {symbol(step.weight)}, {symbol(step.bias)}, {_stages(step, symbol)});",
    ]


def _add(program: Program, step: Add, at: Any, symbol: Any) -> list[str]:
    size, repeated = _repeated(program, step, at)
    operands = [f"{operand}, {left}" for operand, left in zip(repeated, step.left, strict=True)]
    return [
        f"mpq_add({', '.join(operands)},",
        f"        {at(step.output)}, {_list(size)}, {_stages(step, symbol)});",
    ]


def _product(program: Program, step: Product, at: Any, symbol: Any) -> list[str]:
    size, operands = _repeated(program, step, at)
    return [
        f"mpq_multiply({', '.join(operands)},",
        f"             {at(step.output)}, {_list(size)}, {_stages(step, symbol)});",
    ]


def _matmul(program: Program, step: Matmul, at: Any, symbol: Any) -> list[str]:
    *before, rows, columns = program.tensor(step.output).shape
    inner = program.tensor(step.inputs[0]).shape[-1]
    return [
        f"mpq_matmul({at(step.inputs[0])}, {at(step.inputs[1])}, {at(step.output)}, {math.prod(before)}, {rows}, "
        f"{inner}, {columns},",
        f"           {_stages(step, symbol)});",
    ]


def _normalize(program: Program, step: Normalize, at: Any, symbol: Any) -> list[str]:
    sizes = _around(program.tensor(step.output).shape, step.axes)
    return [
        f"mpq_normalize({at(step.inputs[0])}, {at(step.output)}, {sizes}, {int(step.centered)}, {step.fraction}, "
        f"{step.square_fraction}, {step.epsilon},",
        f"              {step.shift}, {symbol(step.table)}, {len(program.arrays[step.table]) // 3}, {step.low}, "
        f"{step.high});",
    ]


def _softmax(program: Program, step: Softmax, at: Any, symbol: Any) -> list[str]:
    sizes = _around(program.tensor(step.output).shape, (step.axis,))
    return [
        f"mpq_softmax({at(step.inputs[0])}, {at(step.output)}, {sizes}, {step.scale}, {symbol(step.table)}, "
        f"{step.low}, {step.high});",
    ]


def _around(shape: Sequence[int], axes: Sequence[int]) -> str:
    """How many elements lie before, along and behind neighbouring axes."""
    first, last = min(axes), max(axes) + 1
    return ", ".join(str(math.prod(part)) for part in (shape[:first], shape[first:last], shape[last:]))


def _repeated(program: Program, step: Add | Product, at: Any) -> tuple[tuple[int, ...], list[str]]:
    """The size of the output, and the operands, whose sizes of one are repeated.

    Of an operand: where it begins, and how far apart its neighbours lie.
    """
    out = program.tensor(step.output).shape
    shapes = [(1,) * (len(out) - len(shape)) + shape for shape in (program.tensor(n).shape for n in step.inputs)]
    runs = _together(out, lambda axis: tuple(shape[axis] == 1 for shape in shapes))
    operands = []
    for name, shape in zip(step.inputs, shapes, strict=True):
        sizes = _four(_merged(shape, runs), step.output)
        steps = [0 if n == 1 else s for n, s in zip(sizes, _strides(sizes), strict=True)]
        operands.append(f"{at(name)}, {_list(steps)}")
    return _four(_merged(out, runs), step.output), operands


def _together(shape: Sequence[int], of: Callable[[int], Any]) -> list[tuple[int, ...]]:
    """The axes; of more than the kernels take, neighbours of which something is alike as one, and none of size one."""
    if len(shape) <= AXES:
        return [(axis,) for axis in range(len(shape))]
    long = [axis for axis, size in enumerate(shape) if size > 1]
    return [tuple(axes) for _, axes in groupby(long, of)]


def _merged(shape: Sequence[int], runs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis] for axis in run) for run in runs)


def _mean(program: Program, step: Mean, at: Any, symbol: Any) -> list[str]:
    whole = program.tensor(step.inputs[0]).shape
    runs = _together(whole, lambda axis: axis in step.axes)
    shape = _four(_merged(whole, runs), step.output)
    over = _four([run[0] in step.axes for run in runs], step.output)
    kept, summed = ([n if bool(one) == wanted else 1 for n, one in zip(shape, over, strict=True)] for wanted in (0, 1))
    return [
        f"mpq_mean({at(step.inputs[0])}, {at(step.output)}, {_list(kept)}, {_list(summed)},",
        f"         {_list(_strides(shape))}, {_stages(step, symbol)});",
    ]


def _max_pool(program: Program, step: MaxPool, at: Any, symbol: Any) -> list[str]:
    window = _window(step.kernel, step.stride, step.dilation, step.padding)
    return [
        f"mpq_max_pool({at(step.inputs[0])}, {_image(program, step.inputs[0])}, {at(step.output)}, "
        f"{_image(program, step.output)},",
        f"             {window});",
    ]


def _average_pool(program: Program, step: AveragePool, at: Any, symbol: Any) -> list[str]:
    window = _window(step.kernel, step.stride, (1, 1), step.padding)
    return [
        f"mpq_average_pool({at(step.inputs[0])}, {_image(program, step.inputs[0])}, {at(step.output)}, "
        f"{_image(program, step.output)},",
        f"                 {window}, {int(step.counts_padding)}, {step.offset}, {ROUNDINGS[step.rounding]});",
    ]


def _bound(program: Program, step: Bound, at: Any, symbol: Any) -> list[str]:
    size = program.tensor(step.output).elements
    return [f"mpq_clamp_all({at(step.inputs[0])}, {at(step.output)}, {size}, {step.low}, {step.high});"]


def _lookup(program: Program, step: Lookup, at: Any, symbol: Any) -> list[str]:
    size, entries = program.tensor(step.output).elements, program.arrays[step.table]
    if entries.ndim > 1:
        rows = program.tensor(step.inputs[0]).elements
        ends = f"{at(step.inputs[0])}, {at(step.output)}, {rows}, {size // rows}"
        return [f"mpq_rows({ends}, {symbol(step.table)});"]
    return [f"mpq_lookup({at(step.inputs[0])}, {at(step.output)}, {size}, {symbol(step.table)}, {step.first});"]


def _concat(program: Program, step: Concat, at: Any, symbol: Any) -> list[str]:
    shape = program.tensor(step.output).shape
    blocks, distance, offset, lines = math.prod(shape[: step.axis]), math.prod(shape[step.axis :]), 0, []
    for name in step.inputs:
        size = math.prod(program.tensor(name).shape[step.axis :])
        lines.append(f"mpq_copy({at(name)}, {at(step.output)} + {offset}, {blocks}, {size}, {distance});")
        offset += size
    return lines


def _move(program: Program, step: Move, at: Any, symbol: Any) -> list[str]:
    source, target = program.tensor(step.inputs[0]).shape, program.tensor(step.output).shape
    strides = _strides(source)
    axes: list[tuple[int, ...]] = []
    for axis, size in enumerate(target):
        of = step.order[axis]
        numbers = (step.before[axis], step.step[axis], step.repeat[axis], step.insert[axis])
        whole = numbers == (0, 1, 1, 1) and size == source[of]
        many = len(target) > AXES
        if many and whole and size == 1:
            continue
        before = axes[-1] if axes else ()
        if many and whole and before[3:] == (0, 1, 1, 1) and before[0] == before[1] and before[2] == strides[of] * size:
            axes[-1] = (before[0] * size, before[1] * size, strides[of], *numbers)
        else:
            axes.append((size, source[of], strides[of], *numbers))
    rows = ["{1, 1, 0, 0, 1, 1, 1}"] * (AXES - _checked(len(axes), step.output))
    rows += [f"{{{', '.join(map(str, axis))}}}" for axis in axes]
    return [
        f"mpq_move({at(step.inputs[0])}, {at(step.output)},",
        f"         (const mpq_axis[]){{{', '.join(rows)}}});",
    ]


def _image(program: Program, name: str) -> str:
    shape = program.tensor(name).shape
    strides = _strides(shape)
    if program.layout == "channels_first":
        shape, strides = (*shape[1:], shape[0]), (*strides[1:], strides[0])
    if len(shape) == 2:
        shape, strides = (1, *shape), (0, *strides)
    return f"&(mpq_image){{{', '.join(map(str, (*shape, *strides)))}}}"


def _window(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Sequence[int]) -> str:
    return f"&(mpq_window){{{', '.join(map(str, (*kernel, *stride, *dilation, *padding)))}}}"


def _stages(step: Staged, symbol: Any) -> str:
    return f"{symbol(f'{step.output}.stages')}, {len(step.stages)}"


def _four(shape: Sequence[int], name: str) -> tuple[int, ...]:
    return (1,) * (AXES - _checked(len(shape), name)) + tuple(shape)


def _checked(axes: int, name: str) -> int:
    """So many axes. Raises ProgramError, naming the tensor, for more than the kernels take."""
    if axes > AXES:
        raise ProgramError(f"tensor {name!r} is computed along {axes} axes; the C kernels take {AXES}")
    return axes


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    """How far apart neighbours along each axis lie."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _list(values: Sequence[int]) -> str:
    return f"(const int32_t[]){{{', '.join(map(str, values))}}}"


_CALLS: dict[type[Any], Callable[..., list[str]]] = {
    Conv: _conv,
    Linear: _linear,
    Add: _add,
    Product: _product,
    Matmul: _matmul,
    Normalize: _normalize,
    Softmax: _softmax,
    Mean: _mean,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Bound: _bound,
    Lookup: _lookup,
    Concat: _concat,
    Move: _move,
}
