"""A recipe's grids as torchao QuantizationSpecs, with the one fake-quantizer of this package inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torchao.quantization.pt2e import DerivedObserverOrFakeQuantize, FakeQuantizeBase, ObserverBase
from torchao.quantization.pt2e.quantizer import DerivedQuantizationSpec, QuantizationSpec

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.slot import Slot
from mpq_torch.calling.node_arguments import source_of
from mpq_torch.torch_ao.grid_observers import (
    GridObserver,
    GridPerChannelObserver,
    GridWeightObserver,
    OnGrid,
    zero_point_of,
)
from mpq_torch.training.fake_quantize import PO2FakeQuantize
from mpq_torch.training.grid_bank import GridBank
from mpq_torch.training.learned_grid import LearnedGrid

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
            shifted = model.graph.call_function(torch.ops.aten.add.Scalar, (source_of(node), zero_point * scale))
            codes = model.graph.call_function(ops.quantize_per_tensor.default, (shifted, scale, 0, *limits))
            values = model.graph.call_function(
                ops.dequantize_per_tensor.default, (codes, scale, int(zero_point), *limits)
            )
        shifted.meta = dict(source_of(node).meta)
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


@dataclass(frozen=True)
class TrainedGrid:
    """Makes the fake-quantizer that learns the grid of a site, or of the sites of its group.

    entry: what the recipe says of the site; its bits and sign stay. shifted: a ShiftedInput.
    """

    method: TrainingMethod
    entry: SiteGrid
    shifted: bool = False

    @property
    def __name__(self) -> str:
        return "TrainedGridPerChannel" if self.grid.axis is not None else "TrainedGrid"

    @property
    def grid(self) -> Grid:
        """The grid of the recipe."""
        return self.entry.grid

    @property
    def codes(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.grid.low, self.grid.high

    def with_args(self, **described: Any) -> TrainedGrid:
        """Itself, as of FixedGrid."""
        return self

    def __call__(self) -> PO2FakeQuantize:
        entry, grid = self.entry, self.grid
        kind = Candidate(grid.bits, grid.signed, grid.axis is not None, grid.narrow)
        slot = Slot(entry.site, entry.kind, entry.shape, (kind,), grid.axis)
        made = ShiftedInput if self.shifted else PO2FakeQuantize
        return made.hosting(LearnedGrid.of(GridBank(self.method, Bank.of([slot]))))


def activation_spec(maker: FixedGrid | TrainedGrid) -> QuantizationSpec:
    """The spec of an activation: uint8, the grid's lowest code stored as 0."""
    zero_point = zero_point_of(maker.grid)
    low, high = maker.codes or (maker.grid.low, maker.grid.high)
    return QuantizationSpec(
        dtype=torch.uint8,
        observer_or_fake_quant_ctr=maker,
        quant_min=low + zero_point,
        quant_max=high + zero_point,
        qscheme=torch.per_tensor_affine,
    )


def weight_spec(maker: FixedGrid | TrainedGrid) -> QuantizationSpec:
    """The spec of a weight: int8 with quant_min and quant_max of the grid, zero point 0."""
    grid = maker.grid
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=maker,
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
    input step of any call of the layer, because a layer that is called twice has one bias; 0 where steps
    are still being learned, and ``pool_bias_inputs`` makes all calls known.
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
        *sources, weight = (quantizer.calculate_qparams()[0] for quantizer in quantizers)
        steps = torch.clamp(torch.stack(sources).amax(0), min=coarsest) * weight
        return steps, torch.zeros(steps.shape, dtype=torch.int64)

    return derive


def pool_bias_inputs(made: Mapping[Any, Any]) -> None:
    """Derive the bias of a layer that is called several times from the inputs of all calls, in place.

    made: the quantizers that torchao made, by node and edge. (A spec can only name inputs that come before.)
    """
    calls: dict[fx.Node, list[fx.Node]] = {}
    for place, quantizer in made.items():
        if isinstance(place, tuple) and isinstance(quantizer, DerivedObserverOrFakeQuantize):
            calls.setdefault(place[0], []).append(place[1])
    for bias, layers in calls.items():
        sources = [made[layer.args[0], layer] for layer in layers if (layer.args[0], layer) in made]
        for layer in layers:
            derived = made[bias, layer]
            derived.obs_or_fqs = [*(sources or derived.obs_or_fqs[:1]), derived.obs_or_fqs[-1]]
