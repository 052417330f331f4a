"""The small named modules that a written model is made of, beside torch's own layers.

Each stands at the path of its site, so that a torch.ao QConfigMapping can address a functional op
by name. torch.ao's tracer traces through them (they are not torch.nn classes); ours does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_torch.modules.attention import Products, Shares
from mpq_torch.modules.function_op import function_of_one
from mpq_torch.modules.long_series import Recurrence
from mpq_torch.runner.slicing import Slice
from mpq_torch.runner.torch_runner import TorchRunner

INPUT_SUFFIX = "__input"
RELU_SUFFIX = "__relu"
CLAMP_SUFFIX = "__clamp"
SAME_GRID_SUFFIX = "__same_grid"


class Simulated(nn.Module):
    """What computes the numbers of a recipe in the place of a model, of which there is no recipe again."""


class Input(nn.Module):
    """A tensor enters the quantized part of the model here; computes the identity. whole: its numbers are no floats."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        self.identity = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.identity(x.float() if self.whole else x)
        return y


class OfOne(nn.Module):
    """A function of one element that torch has no module of. function: its name in torch ("abs").

    arguments: what it takes besides the tensor, by name; each is an attribute too.
    """

    def __init__(self, function: str, **arguments: Any) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        self.__dict__.update(arguments)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = getattr(torch, self.function)(x, **self.arguments)
        return y

    def extra_repr(self) -> str:
        return self.function


class OfRecord(nn.Module):
    """A function of one element that torch has not. word, attrs: of its record."""

    def __init__(self, word: str, attrs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.word = word
        self.attrs = dict(attrs or {})
        self._text = json.dumps(self.attrs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = function_of_one(x, self.word, self._text)
        return y

    def extra_repr(self) -> str:
        return self.word


class AlongAxes(nn.Module):
    """A norm, or a softmax and the mask that comes with it, as its record computes it. word, attrs: of the record."""

    def __init__(self, word: str, attrs: Mapping[str, Any]) -> None:
        super().__init__()
        self.record = Node(word, word, ("x",), attrs=attrs)
        mask = attrs.get("mask")
        self.register_buffer("mask", None if mask is None else torch.from_numpy(np.array(mask, np.float32)), False)

    def forward(self, x: Tensor, *computed: Tensor) -> Tensor:
        node = (
            self.record if self.mask is None else replace(self.record, attrs={**self.record.attrs, "mask": self.mask})
        )
        found: Tensor = op_of(node).value(TorchRunner(device=x.device), node, x, *computed)
        return found

    def extra_repr(self) -> str:
        return self.record.op


class OfTwo(nn.Module):
    """A function of two activations. function: its name in torch ("add", "mul").

    The identity in front keeps its path through convert_fx, which makes a function without a name of it.
    alone: indices of operands of one sample, for all; they lose their first axis. QNNPACK rounds a sum of two shapes
    otherwise than one of one shape, and so would round by the number of samples.
    """

    def __init__(self, function: str, alone: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.function = function
        self.identity = nn.Identity()
        self.alone = alone

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a = torch.flatten(a, 0, 1) if 0 in self.alone else a
        b = torch.flatten(b, 0, 1) if 1 in self.alone else b
        y: Tensor = getattr(torch, self.function)(self.identity(a), b)
        return y

    def extra_repr(self) -> str:
        return self.function


class Affine(nn.Module):
    """scale * x + offset: numbers, or tensors that broadcast against x."""

    scale: float | Tensor
    offset: float | Tensor

    def __init__(self, scale: float | Tensor, offset: float | Tensor) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("offset", offset)):
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        scaled = x if isinstance(self.scale, float) and self.scale == 1.0 else x * self.scale
        return scaled if isinstance(self.offset, float) and self.offset == 0.0 else scaled + self.offset

    def extra_repr(self) -> str:
        numbers = (value for value in (self.scale, self.offset) if isinstance(value, float))
        return ", ".join(map(str, numbers))


class Concat(nn.Module):
    """Concatenation; inputs and output share one grid."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.cat(tensors, dim=self.dim)


class Pad(nn.Module):
    """Zero padding in torch.nn.functional.pad's order, from ops that stay on the input's grid.

    torch.ao has no quantized pattern for F.pad; a slab of zeros is made from the tensor itself
    (narrow and clamp to zero), so that the padded tensor keeps its grid and its zero point.
    torch.export and torch.compile get F.pad.
    """

    def __init__(self, pads: tuple[int, ...]) -> None:
        super().__init__()
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return nn.functional.pad(x, self.pads)
        for index in range(len(self.pads) // 2):
            before, after = self.pads[2 * index], self.pads[2 * index + 1]
            dim = -1 - index
            if before or after:
                zeros = torch.clamp(torch.narrow(x, dim, 0, 1), 0.0, 0.0)
                x = torch.cat([zeros] * before + [x] + [zeros] * after, dim)
        return x


class Clamp(nn.Module):
    """Clamp of the float model (ReLU6, Hardtanh, torch.clamp); a None bound is absent.

    images: the tensor has height and width. Then the clamp works on a channels-last view, which is
    how integer kernels lay images out: QNNPACK's clamp permutes the elements of any other order.
    """

    def __init__(self, low: float | None, high: float | None, images: bool = False) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        if self.images and not torch.compiler.is_compiling():
            clamped = torch.clamp(x.permute(0, 2, 3, 1).contiguous(), self.low, self.high)
            return clamped.permute(0, 3, 1, 2)
        return torch.clamp(x.contiguous(), self.low, self.high)

    def extra_repr(self) -> str:
        return f"{self.low}, {self.high}"


class GridClamp(Clamp):
    """Clamp to the range of a grid, because an int8 container does not clip at fewer bits."""


class SameGrid(nn.Module):
    """A function whose result stays on its input's grid: pooling, reshaping, reordering.

    function: "functional.NAME", "torch.NAME" or "Tensor.NAME", the spelling that torch.ao knows.
    op: the op in the words of a target ("max_pool", "avg_pool", "global_avg_pool", "reshape").
    """

    def __init__(self, function: str, op: str) -> None:
        super().__init__()
        self.function = function
        self.op = op

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        namespace, name = self.function.split(".")
        y: Tensor
        if namespace == "Tensor":
            y = getattr(x, name)(*args, **kwargs)
        else:
            y = getattr(_NAMESPACES[namespace], name)(x, *args, **kwargs)
        return y

    def extra_repr(self) -> str:
        return self.function


class Mean(SameGrid):
    """The mean over the last axes.

    torch's quantized mean refuses to drop axes of images that a pooling has brought to one element, so that it keeps
    them, and a flatten drops them. torch.export and torch.compile get the mean.
    """

    def __init__(self) -> None:
        super().__init__("torch.mean", "global_avg_pool")

    def forward(self, x: Tensor, axes: list[int], keepdims: bool) -> Tensor:
        if keepdims or torch.compiler.is_compiling():
            return torch.mean(x, axes, keepdims)
        return torch.flatten(torch.mean(x, axes, True), -len(axes) - 1, -1)


class Average(SameGrid):
    """The mean of each window of images or signals.

    torch's quantized pooling misreads memory that lies in any other order than that of the axes, or of channels last,
    and takes some of a single image for the latter. torch.export and torch.compile get the pooling.
    """

    def __init__(self, dims: int) -> None:
        super().__init__(f"functional.avg_pool{dims}d", "avg_pool")

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().forward(x if torch.compiler.is_compiling() else x.contiguous(), *args, **kwargs)


class Interpolate(SameGrid):
    """Nearest interpolation. single: of images of one element.

    torch's quantized kernel takes those for images with their channels last, and mixes the channels up; they are
    repeated instead. torch.export and torch.compile get the interpolation.
    """

    def __init__(self, single: bool = False) -> None:
        super().__init__("functional.interpolate", "reshape")
        self.single = single

    def forward(self, x: Tensor, size: tuple[int, int] | None, scale: tuple[float, float] | None) -> Tensor:
        if not self.single or torch.compiler.is_compiling():
            return nn.functional.interpolate(x, size, scale)
        rows, columns = (int(n) for n in size or scale or (1, 1))
        return torch.cat([torch.cat([x] * columns, -1)] * rows, -2)


class FloatPart(nn.Module):
    """A call of a function that stays float, so that it has a name. call: of the tensors that it reads.

    copied: whether torch.export sees a copy of what the call gives; of an item of a tuple it would keep no trace.
    """

    def __init__(self, call: nn.Module, copied: bool = False) -> None:
        super().__init__()
        self.call = call
        self.copied = copied

    def forward(self, *tensors: Tensor) -> Any:
        found = self.call(*tensors)
        return found.clone() if self.copied and torch.compiler.is_compiling() and isinstance(found, Tensor) else found


_NAMESPACES = {"functional": nn.functional, "torch": torch}
LEAVES = (
    Input,
    OfOne,
    AlongAxes,
    OfRecord,
    OfTwo,
    Affine,
    Concat,
    Pad,
    Slice,
    Clamp,
    SameGrid,
    FloatPart,
    Products,
    Shares,
    Recurrence,
)
