"""The C call of each step: which kernel of mpq_integers.h, with which numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    Step,
)

AXES = 4
"""Most axes of a tensor that the C kernels take, besides the samples."""
ROUNDINGS = {"half_even": "MPQ_HALF_EVEN", "half_up": "MPQ_HALF_UP", "half_away": "MPQ_HALF_AWAY"}


def calls(program: Program, step: Step, at: Callable[[str], str], symbol: Callable[[str], str]) -> list[str]:
    """The statements that compute a step; none for one that computes nothing (a constant, a reshape).

    at: the C expression of a tensor's first code. symbol: the C name of an array or of a step's stages.
    Raises ProgramError for tensors of more than four axes.
    """
    for name in (step.output, *step.inputs):
        if len(program.tensor(name).shape) > AXES:
            raise ProgramError(f"tensor {name!r} has {len(program.tensor(name).shape)} axes; the C kernels take {AXES}")
    make: Callable[..., list[str]] | None = _CALLS.get(type(step))
    return [] if make is None else make(program, step, at, symbol)


def stage_row(stage: Stage) -> tuple[str, ...]:
    """Kind, rounding and two numbers of a stage, as the rows of mpq_stage have them."""
    rounding = ROUNDINGS[getattr(stage, "rounding", "half_even")]
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
    size = _four(program.tensor(step.output).shape)
    operands = [f"{_repeated(program, name, at)}, {left}" for name, left in zip(step.inputs, step.left, strict=True)]
    return [
        f"mpq_add({', '.join(operands)},",
        f"        {at(step.output)}, {_list(size)}, {_stages(step, symbol)});",
    ]


def _product(program: Program, step: Product, at: Any, symbol: Any) -> list[str]:
    size = _four(program.tensor(step.output).shape)
    operands = [_repeated(program, name, at) for name in step.inputs]
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
    bounds = f"{symbol(step.bounds)}, {len(program.arrays[step.bounds])}" if step.bounds else "0, 1"
    return [
        f"mpq_softmax({at(step.inputs[0])}, {at(step.output)}, {sizes}, {step.scale}, {symbol(step.table)}, "
        f"{step.low}, {step.high}, {bounds});",
    ]


def _around(shape: Sequence[int], axes: Sequence[int]) -> str:
    """How many elements lie before, along and behind neighbouring axes."""
    first, last = min(axes), max(axes) + 1
    return ", ".join(str(math.prod(part)) for part in (shape[:first], shape[first:last], shape[last:]))


def _repeated(program: Program, name: str, at: Any) -> str:
    """An operand whose sizes of one are repeated: where it begins, and how far apart its neighbours lie."""
    shape = _four(program.tensor(name).shape)
    steps = [0 if n == 1 else s for n, s in zip(shape, _strides(shape), strict=True)]
    return f"{at(name)}, {_list(steps)}"


def _mean(program: Program, step: Mean, at: Any, symbol: Any) -> list[str]:
    shape = program.tensor(step.inputs[0]).shape
    kept = _four([1 if axis in step.axes else n for axis, n in enumerate(shape)])
    summed = _four([n if axis in step.axes else 1 for axis, n in enumerate(shape)])
    return [
        f"mpq_mean({at(step.inputs[0])}, {at(step.output)}, {_list(kept)}, {_list(summed)},",
        f"         {_list(_strides(_four(shape)))}, {_stages(step, symbol)});",
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
    size = program.tensor(step.output).elements
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
    axes = ["{1, 1, 0, 0, 1, 1, 1}"] * (AXES - len(target))
    for axis, size in enumerate(target):
        of = step.order[axis]
        numbers = (step.before[axis], step.step[axis], step.repeat[axis], step.insert[axis])
        axes.append(f"{{{size}, {source[of]}, {strides[of]}, {', '.join(map(str, numbers))}}}")
    return [
        f"mpq_move({at(step.inputs[0])}, {at(step.output)},",
        f"         (const mpq_axis[]){{{', '.join(axes)}}});",
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


def _stages(step: Step, symbol: Any) -> str:
    return f"{symbol(f'{step.output}.stages')}, {len(getattr(step, 'stages', ()))}"


def _four(shape: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (AXES - len(shape)) + tuple(shape)


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
