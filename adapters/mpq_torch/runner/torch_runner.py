"""TorchRunner: torch's part in running a graph (mpq_plugins.graph.runner.Runner)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mpq_plugins.graph.node import Layout
from mpq_plugins.graph.runner import Gradients, Precision, Sides, Sizes
from mpq_plugins.search.gradient_products import energy
from mpq_torch.array_ops.ops import TorchOps
from mpq_torch.runner.clamping import clamped
from mpq_torch.runner.slicing import sliced
from mpq_torch.runner.threads import one_thread

DTYPES = {"float32": torch.float32, "float64": torch.float64}
FloatPart = Callable[..., Any]
"""What a float node computes from the tensors that it reads."""


class TorchRunner(TorchOps):
    """Runs graphs whose activations lie channels first.

    floats: what each "float" node computes, by its name. device: where tensors are made.
    """

    layout: Layout = "NCHW"
    nearest = staticmethod(torch.round)
    atan = staticmethod(torch.atan)
    erf = staticmethod(torch.erf)
    one_thread = staticmethod(one_thread)

    def __init__(self, floats: Mapping[str, FloatPart] | None = None, device: str | torch.device = "cpu") -> None:
        self.floats = dict(floats or {})
        self.device = torch.device(device)

    def tensor(self, array: NDArray[Any], precision: Precision | None = None) -> Tensor:
        dtype = None if precision is None else DTYPES[precision]
        return torch.tensor(np.asarray(array, order="C"), dtype=dtype, device=self.device)

    def shared(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32, order="C")).to(self.device)

    def numpy(self, x: Tensor) -> NDArray[Any]:
        return x.detach().cpu().numpy()

    def to_precision(self, x: Tensor, precision: Precision) -> Tensor:
        return x.to(DTYPES[precision])

    def precision_of(self, x: Tensor) -> Precision:
        return "float64" if x.dtype == torch.float64 else "float32"

    def maximum(self, a: Any, b: Any) -> Tensor:
        return clamped(a, float(b), math.inf) if _is_bound(a, b) else super().maximum(a, b)

    def minimum(self, a: Any, b: Any) -> Tensor:
        return clamped(a, -math.inf, float(b)) if _is_bound(a, b) else super().minimum(a, b)

    def gather(self, table: Tensor, index: Tensor) -> Tensor:
        return table[index.long()]

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sizes,
        padding: Sides,
        dilation: Sizes,
        groups: int,
    ) -> Tensor:
        even = all(before == after >= 0 for before, after in padding)
        amounts = tuple(before for before, _ in padding) if even else (0,) * len(padding)
        x = x if even else F.pad(x, _flat(padding))
        convolution = (F.conv1d, F.conv2d, F.conv3d)[len(stride) - 1]
        return convolution(x, weight, bias, stride, amounts, dilation, groups)

    def deconvolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sizes,
        cropping: Sides,
        dilation: Sizes,
        groups: int,
    ) -> Tensor:
        split = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
        own = split.reshape(-1, *split.shape[2:])  # [in, out / groups, ...]
        deconvolution = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(stride) - 1]
        extra = tuple(before - after for before, after in cropping)
        if all(before >= 0 and 0 <= more < s for (before, _), more, s in zip(cropping, extra, stride, strict=True)):
            amounts = tuple(before for before, _ in cropping)
            return deconvolution(x, own, bias, stride, amounts, extra, groups, dilation)
        whole = deconvolution(x, own, bias, stride, 0, 0, groups, dilation)
        return F.pad(whole, _flat(tuple((-before, -after) for before, after in cropping)))

    def matmul(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.matmul(a, b)

    def largest(self, x: Tensor, axis: int) -> Tensor:
        return x.amax(axis, True)

    def max_pool(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sides, dilation: Sizes) -> Tensor:
        if any(side for sides in padding for side in sides):
            x = F.pad(x, _flat(padding), value=-torch.inf)
        pool = F.max_pool1d if len(kernel) == 1 else F.max_pool2d
        return pool(x, kernel, stride, 0, dilation)

    def window_sum(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sides) -> Tensor:
        x = F.pad(x, _flat(padding))
        if len(kernel) == 1:
            return F.avg_pool2d(x.unsqueeze(2), (1, *kernel), (1, *stride), divisor_override=1).squeeze(2)
        return F.avg_pool2d(x, kernel, stride, divisor_override=1)

    def sum_over(self, x: Tensor, axes: Sizes, keepdims: bool) -> Tensor:
        return x.sum(tuple(axes), keepdims)

    def pad(self, x: Tensor, pads: Sides) -> Tensor:
        return F.pad(x, _flat(pads))

    def transpose(self, x: Tensor, order: Sizes) -> Tensor:
        return x.permute(tuple(order))

    def slice(self, x: Tensor, slices: tuple[slice, ...]) -> Tensor:
        return sliced(x, slices)

    def upsample(self, x: Tensor, times: Sizes) -> Tensor:
        for axis, count in enumerate(times):
            x = x if count == 1 else x.repeat_interleave(count, axis)
        return x

    def take(self, x: Tensor, indices: Sequence[int]) -> Tensor:
        return x[torch.tensor(list(indices), device=x.device)]

    def float_part(self, name: str, inputs: Sequence[Tensor]) -> Any:
        found = self.floats[name](*inputs)
        steps = isinstance(found, Tensor) and type(found.grad_fn).__name__ == "NotImplemented"
        return found.detach() if steps else found  # flat where it has a slope, as a comparison

    def recording(self) -> AbstractContextManager[Any]:
        return torch.enable_grad()

    def watched(self, x: Tensor) -> Tensor:
        return x if x.requires_grad or not x.is_floating_point() else x.detach().requires_grad_()

    def differentiable(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.requires_grad

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    @property
    def differentiates_side_by_side(self) -> bool:
        # on a device gradients are computed in a thread of the device's own, which would not know whose they are
        return self.device.type == "cpu"

    def energy(self, x: Tensor) -> float:
        if x.device.type == "cpu":
            return energy(self.numpy(x))
        return float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2

    @contextmanager
    def gradients(self, outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Iterator[Gradients]:
        able = [index for index, x in enumerate(wanted) if x.requires_grad]
        leaves = [index for index in able if wanted[index].is_leaf]
        takers: dict[int, Callable[[int, Tensor], None]] = {}

        def give(index: int, gradient: Tensor) -> None:
            own = takers.get(threading.get_ident())
            for take in takers.values() if own is None else (own,):  # elsewhere there is one at a time
                take(index, gradient)

        def take(directions: Sequence[NDArray[np.float64]], use: Callable[[int, Tensor], None]) -> None:
            starts = (
                torch.as_tensor(d, dtype=y.dtype, device=y.device) for d, y in zip(directions, outputs, strict=True)
            )
            # sums, whose gradients start from one: for gradients to start from torch loads symbolic shapes, a second
            sums = [(y * start).sum() for y, start in zip(outputs, starts, strict=True)]
            seen: set[int] = set()

            def used(index: int, gradient: Tensor) -> None:
                seen.add(index)
                use(index, gradient.detach())

            if leaves:
                takers[threading.get_ident()] = used
                try:
                    _differentiate(sums, wanted, leaves, used)
                finally:
                    del takers[threading.get_ident()]
            missed = [index for index in able if index not in seen]
            if missed:  # no leaf lies before them: parameters of a float part do
                _differentiate(sums, wanted, missed, used)

        # what lies between is used on the way, so that no gradient waits for the others
        inside = [index for index in able if leaves and not wanted[index].is_leaf]
        handles = [wanted[index].register_hook(partial(give, index)) for index in inside]
        try:
            yield take
        finally:
            for handle in handles:
                handle.remove()


def _differentiate(
    sums: Sequence[Tensor], wanted: Sequence[Tensor], places: Sequence[int], use: Callable[[int, Tensor], None]
) -> None:
    # the same outputs are differentiated again
    inputs = [wanted[index] for index in places]
    found = torch.autograd.grad(sums, inputs, retain_graph=True, allow_unused=True)
    for index, gradient in zip(places, found, strict=True):
        if gradient is not None:
            use(index, gradient)


def _is_bound(a: Any, b: Any) -> bool:
    """Whether b is a number that a tensor of floats is compared with, on the way to a gradient."""
    single = isinstance(b, (int, float)) and isinstance(a, Tensor) and a.dtype in (torch.float32, torch.float64)
    return single and a.requires_grad and torch.is_grad_enabled()


def _flat(sides: Sides) -> tuple[int, ...]:
    """As torch.nn.functional.pad takes it: from the last axis back."""
    return tuple(side for pair in reversed(sides) for side in pair)
