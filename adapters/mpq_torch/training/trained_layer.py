"""TrainedLayer: a convolution or linear that computes with its quantized weight, its batch norm folded in or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpq_plugins.graph.accumulator import INT32_LIMIT
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.calling.own_copy import compute_weights
from mpq_torch.training.batch_norms import BatchNorms, Folded, FoldedNorms, Statistics
from mpq_torch.training.float_layers import TRANSPOSED, BatchNorm, WeightedLayer
from mpq_torch.training.folding import scaled


class Prepared(NamedTuple):
    """What a layer computes with in one forward pass: its quantized weight, and its folded norm if it has one."""

    weight: Tensor
    norm: Folded | None


class TrainedLayer(nn.Module):
    """layer, norm: of the float model, whose parameters are trained in place. quantizer: of the weight.

    With the batch norm folded, the convolution runs once, with the weight that the converted model will
    have. What it computes is scaled by gamma / sigma_running per channel, which normalizing by the
    batch's own statistics takes out again, so the running statistics are those of the float layer.

    bias_steps: of the accumulator, [channels], once the grids are fixed: biases are rounded to them, as the
    converted model's are. None before.
    """

    bias_steps: Tensor | None

    def __init__(self, layer: WeightedLayer, norm: BatchNorm | None, quantizer: nn.Module, mode: BatchNorms) -> None:
        super().__init__()
        self.layer, self.norm, self.quantizer, self.mode = layer, norm, quantizer, mode
        self.register_buffer("bias_steps", None)

    @property
    def folds(self) -> bool:
        """Whether there is a norm that is folded into the weight."""
        return self.norm is not None and self.mode != "keep"

    def forward(self, x: Tensor, prepared: Prepared) -> tuple[Tensor, Statistics | None]:
        """What the layer computes; the statistics of the batch, where it is normalized by its own."""
        weight, folded = prepared
        norm = self.norm
        if norm is not None and self.mode == "keep":
            return norm(self._computed(x, weight, self.layer.bias)), None
        if norm is None or folded is None:
            return self._computed(x, weight, self._rounded(self.layer.bias)), None
        if self.mode == "fold" and norm.training:
            y = self._computed(x, weight, None)
            # normalization takes the scale out again, but for its sign, which gamma has
            out, mean, inverse = torch.native_batch_norm(y, folded.gamma, folded.beta, None, None, True, 0.0, norm.eps)
            return out, Statistics(mean, inverse, y.numel() // y.shape[1])
        return self._computed(x, weight, folded.bias), None

    def weight_to_quantize(self, folded: Folded | None) -> Tensor:
        """The weight, times the scale of its norm if that is folded; see ``compute``."""
        if folded is None:
            return self.layer.weight
        return scaled(self.layer.weight, folded.scale, 1 if isinstance(self.layer, TRANSPOSED) else 0)

    def compute(self) -> None:
        """Let the layer hold the weight and bias that its parameters make now; to be called first in each step.

        (Parametrizations compute theirs whenever they are read; weight_norm's and pruning's hooks run in the layer's
        own call, which does not happen here.)
        """
        compute_weights(self.layer)

    def folded(self) -> Folded | None:
        """The folded norm of this layer alone."""
        return FoldedNorms([self])()[0] if self.folds else None

    def folded_weight(self) -> Tensor:
        """The weight that is quantized."""
        self.compute()
        return self.weight_to_quantize(self.folded())

    def folded_bias(self) -> Tensor:
        """The bias of the layer with its batch norm folded in, not rounded."""
        steps, self.bias_steps = self.bias_steps, None
        try:
            folded = self.folded()
        finally:
            self.bias_steps = steps
        assert folded is not None
        return folded.bias

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state has bias steps if its grids were fixed, whether or not those here are."""
        steps = state_dict.get(f"{prefix}bias_steps")
        self.bias_steps = None if steps is None else torch.empty_like(steps, device=self.layer.weight.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _rounded(self, bias: Tensor | None) -> Tensor | None:
        """The bias on the accumulator's grid, straight-through."""
        if bias is None or self.bias_steps is None:
            return bias
        return TORCH.fake_quantize(bias, self.bias_steps, -INT32_LIMIT, INT32_LIMIT)

    def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        if isinstance(layer, TRANSPOSED):
            one_axis = isinstance(layer, nn.ConvTranspose1d)
            function: Callable[..., Tensor] = F.conv_transpose1d if one_axis else F.conv_transpose2d
            sizes = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
            return function(x, weight, bias, *sizes)
        y: Tensor = layer._conv_forward(x, weight, bias)
        return y
