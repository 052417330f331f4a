"""A recipe's grids as torchao QuantizationSpecs, with the one fake-quantizer of this package inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torchao.quantization.pt2e import FakeQuantizeBase, ObserverBase
from torchao.quantization.pt2e.quantizer import DerivedQuantizationSpec, QuantizationSpec

from mpq_plugins.grid import Grid
from mpq_torch.fake_quantize import PO2FakeQuantize
from mpq_torch.grid_observers import GridObserver, GridPerChannelObserver, GridWeightObserver, OnGrid, zero_point_of

# torchao asks isinstance() of bases of its own; ours stand on torch.ao's, and do the same
ObserverBase.register(OnGrid)
FakeQuantizeBase.register(PO2FakeQuantize)

INT32 = -(2**31), 2**31 - 1


class ShiftedInput(PO2FakeQuantize):
    """A model input that is quantized as torch's integer kernels do it: zero point first, then rounding.

    torchao's quantize op rounds before it adds the zero point. Adding ``zero_point * step`` to the float
    tensor makes the same float32 sum, because steps are powers of two.
    """

    def convert(self, model: fx.GraphModule, node: fx.Node) -> None:
        """Put add, quantize and dequantize in the place of the observer's node; torchao calls this."""
        observer = self.activation_post_process
        scale, zero_point = (float(value) for value in observer.calculate_qparams())
        limits = observer.quant_min, observer.quant_max, torch.uint8
        ops = torch.ops.quantized_decomposed
        with model.graph.inserting_before(node):
            shifted = model.graph.call_function(torch.ops.aten.add.Scalar, (node.args[0], zero_point * scale))
            codes = model.graph.call_function(ops.quantize_per_tensor.default, (shifted, scale, 0, *limits))
            values = model.graph.call_function(
                ops.dequantize_per_tensor.default, (codes, scale, int(zero_point), *limits)
            )
        shifted.meta = dict(node.args[0].meta)
        node.replace_all_uses_with(values)
        model.graph.erase_node(node)


@dataclass(frozen=True)
class FixedGrid:
    """Makes the fake-quantizer of a grid: what a QuantizationSpec takes for a class.

    codes: smallest and largest code that may occur, of an activation. shifted: a ShiftedInput.
    """

    grid: Grid
    codes: tuple[int, int] | None = None
    shifted: bool = False

    @property
    def __name__(self) -> str:
        return "FixedGridPerChannel" if self.grid.axis is not None else "FixedGrid"

    def with_args(self, **described: Any) -> FixedGrid:
        """Itself: torchao repeats here what the spec says, and the grid says it all."""
        return self

    def __call__(self) -> PO2FakeQuantize:
        if self.codes is None:
            observer = GridWeightObserver if self.grid.axis is None else GridPerChannelObserver
            return PO2FakeQuantize(observer=observer, grid=self.grid)
        kind = ShiftedInput if self.shifted else PO2FakeQuantize
        return kind(observer=GridObserver, grid=self.grid, codes=self.codes)


def activation_spec(grid: Grid, codes: tuple[int, int], shifted: bool = False) -> QuantizationSpec:
    """The spec of an activation: uint8, the grid's lowest code stored as 0. codes: those that may occur."""
    zero_point = zero_point_of(grid)
    return QuantizationSpec(
        dtype=torch.uint8,
        observer_or_fake_quant_ctr=FixedGrid(grid, codes, shifted),
        quant_min=codes[0] + zero_point,
        quant_max=codes[1] + zero_point,
        qscheme=torch.per_tensor_affine,
    )


def weight_spec(grid: Grid) -> QuantizationSpec:
    """The spec of a weight: int8 with quant_min and quant_max of the grid, zero point 0."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=FixedGrid(grid),
        quant_min=grid.low,
        quant_max=grid.high,
        qscheme=torch.per_tensor_symmetric if grid.axis is None else torch.per_channel_symmetric,
        ch_axis=grid.axis,
    )


def bias_spec(
    source: fx.Node | tuple[fx.Node, fx.Node], weight: tuple[fx.Node, fx.Node], per_channel: bool, coarsest: float
) -> DerivedQuantizationSpec:
    """The spec of a bias: int32 in steps of the accumulator, step_input * step_weight.

    source, weight: where the input and the weight of the layer are quantized. coarsest: the largest
    input step of any call of the layer, because a layer that is called twice has one bias.
    """
    return DerivedQuantizationSpec(
        derived_from=[source, weight],
        derive_qparams_fn=_accumulator_steps(coarsest),
        dtype=torch.int32,
        quant_min=INT32[0],
        quant_max=INT32[1],
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
    )


def _accumulator_steps(coarsest: float) -> Callable[[Sequence[Any]], tuple[Tensor, Tensor]]:
    def derive(quantizers: Sequence[Any]) -> tuple[Tensor, Tensor]:
        (source, _), (weight, _) = (quantizer.calculate_qparams() for quantizer in quantizers)
        steps = torch.clamp(source, min=coarsest) * weight
        return steps, torch.zeros(steps.shape, dtype=torch.int64)

    return derive
