"""TrainedLayer: a convolution or linear that computes with its quantized weight, its batch norm folded in or not."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpq_plugins.bias_correction import INT32_LIMIT
from mpq_torch.ops import TORCH
from mpq_torch.training.float_layers import TRANSPOSED

BatchNorms = Literal["fold", "freeze", "keep"]
"""fold: the weight is quantized with its batch norm folded in, by running statistics; batches are
normalized by their own. freeze: the same, and running statistics are used for both and stay as they are.
keep: the weight is quantized without its batch norm, which stays float (as HMQ and SDQ train); a model
trained so has its thresholds searched again when it is folded."""


class TrainedLayer(nn.Module):
    """layer, norm: of the float model, whose parameters are trained in place. quantizer: of the weight.

    With the batch norm folded, the convolution runs once, with the weight that the converted model will
    have. What it computes is scaled by gamma / sigma_running per channel, which normalizing by the
    batch's own statistics takes out again, so the running statistics are those of the float layer.

    bias_steps: of the accumulator, [channels], once the grids are fixed: biases are rounded to them, as the
    converted model's are. None before.
    """

    def __init__(self, layer: nn.Module, norm: nn.Module | None, quantizer: nn.Module, mode: BatchNorms) -> None:
        super().__init__()
        self.layer, self.norm, self.quantizer, self.mode = layer, norm, quantizer, mode
        self.register_buffer("bias_steps", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm is None:
            return self._computed(x, self.quantizer(self.layer.weight), self._rounded(self.layer.bias))
        if self.mode == "keep":
            return self.norm(self._computed(x, self.quantizer(self.layer.weight), self.layer.bias))
        scale = self._scale()
        weight = self.quantizer(self._scaled(scale))
        if self.mode == "fold" and self.norm.training:
            return self._normalized(self._computed(x, weight, None), scale.detach().to(weight))
        return self._computed(x, weight, self._rounded(self.folded_bias()))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A state has bias steps if its grids were fixed, whether or not those here are."""
        steps = state_dict.get(f"{prefix}bias_steps")
        self.bias_steps = None if steps is None else torch.empty_like(steps, device=self.layer.weight.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def folded_weight(self) -> Tensor:
        """The weight that is quantized."""
        if self.norm is None or self.mode == "keep":
            return self.layer.weight
        return self._scaled(self._scale())

    def folded_bias(self) -> Tensor:
        """The bias of the layer with its batch norm folded in."""
        mean = self.norm.running_mean.double()
        inner = -mean if self.layer.bias is None else self.layer.bias - mean
        return (inner * self._scale() + self._beta()).to(self.norm.running_mean)

    def _scale(self) -> Tensor:
        """gamma / sigma by running statistics, [channels], in float64.

        As mpq_plugins.folding has it, step by step: a weight between two codes must fall to the same one.
        """
        sigma = torch.sqrt(self.norm.running_var.double() + self.norm.eps)
        return 1.0 / sigma if self.norm.weight is None else self.norm.weight / sigma

    def _scaled(self, scale: Tensor) -> Tensor:
        return (self.layer.weight * self._spread(scale)).to(self.layer.weight)

    def _rounded(self, bias: Tensor | None) -> Tensor | None:
        """The bias on the accumulator's grid, straight-through."""
        if bias is None or self.bias_steps is None:
            return bias
        return TORCH.fake_quantize(bias, self.bias_steps, -INT32_LIMIT, INT32_LIMIT)

    def _beta(self) -> Tensor:
        return torch.zeros_like(self.norm.running_mean) if self.norm.bias is None else self.norm.bias

    def _spread(self, channels: Tensor) -> Tensor:
        shape = [1] * self.layer.weight.dim()
        shape[1 if isinstance(self.layer, TRANSPOSED) else 0] = -1
        return channels.view(shape)

    def _normalized(self, y: Tensor, scale: Tensor) -> Tensor:
        """Batch norm of y / scale, without dividing: normalization takes the scale out, but for its sign."""
        gamma = None if self.norm.weight is None else self.norm.weight * torch.sign(scale)
        beta = self.norm.bias
        if self.bias_steps is not None:  # what rounding adds to the folded bias, it adds to beta
            folded = self.folded_bias().detach()
            beta = self._beta() + (self._rounded(folded) - folded)
        out, mean, inverse = torch.native_batch_norm(y, gamma, beta, None, None, True, 0.0, self.norm.eps)
        self._track(mean.detach(), inverse.detach(), scale, y.numel() // y.shape[1])
        return out

    def _track(self, mean: Tensor, inverse: Tensor, scale: Tensor, count: int) -> None:
        """Move the running statistics by those of the float layer's output."""
        norm = self.norm
        if not norm.track_running_stats:
            return
        norm.num_batches_tracked.add_(1)
        momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        variance = (inverse**-2 - norm.eps).clamp_(min=0) * (count / max(1, count - 1))
        live = scale.abs() > torch.finfo(scale.dtype).tiny
        inner = torch.where(live, scale, torch.ones_like(scale))
        batch_mean = mean / inner if self.layer.bias is None else mean / inner + self.layer.bias.detach()
        for running, new in ((norm.running_mean, batch_mean), (norm.running_var, variance / inner**2)):
            running.copy_(torch.where(live, running + momentum * (new - running), running))

    def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        if isinstance(layer, TRANSPOSED):
            function = F.conv_transpose1d if isinstance(layer, nn.ConvTranspose1d) else F.conv_transpose2d
            sizes = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
            return function(x, weight, bias, *sizes)
        return layer._conv_forward(x, weight, bias)
