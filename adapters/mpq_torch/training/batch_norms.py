"""The batch norms of all trained layers at once: folded by running statistics, which move once a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from mpq_plugins.graph.accumulator import INT32_LIMIT
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.training.float_layers import BatchNorm, WeightedLayer
from mpq_torch.training.held_tensors import HeldTensors
from mpq_torch.training.replay import repeats

BatchNorms = Literal["fold", "freeze", "keep"]
"""fold: the weight is quantized with its batch norm folded in, by running statistics; batches are
normalized by their own. freeze: the same, and running statistics are used for both and stay as they are.
keep: the weight is quantized without its batch norm, which stays float (as HMQ and SDQ train); a model
trained so has its thresholds searched again when it is folded."""


class Folded(NamedTuple):
    """The norm of one layer, for one forward pass.

    scale: gamma / sigma by running statistics, [channels], float64, times which the weight is quantized.
    gamma: times its sign, and beta, with what rounding adds to the folded bias: they normalize a batch of
    what the folded layer computes. bias: of the folded layer, which takes their place in evaluation.
    """

    scale: Tensor
    gamma: Tensor
    beta: Tensor
    bias: Tensor


class Statistics(NamedTuple):
    """Of one batch of what a folded layer computed, [channels]: mean, inverse deviation; values: of each channel."""

    mean: Tensor
    inverse: Tensor
    values: int


class NormedLayer(Protocol):
    """What is asked of a trained layer. layer: with its float weight and bias; norm: the batch norm behind it."""

    layer: WeightedLayer
    norm: BatchNorm | None
    mode: BatchNorms
    bias_steps: Tensor | None


class FoldedNorms(HeldTensors):
    """Folding and running statistics of layers with norms, over their concatenated channels.

    Running statistics are read once, when a step begins, and written once, when it ends: however often a
    layer is called in it, its calls fold by the same ones, and each call's own move them in their order.
    """

    def __init__(self, layers: Sequence[NormedLayer]) -> None:
        super().__init__()
        # in a tuple: they are modules of the graph, and of nobody else
        self._layers = (tuple(layer for layer in layers if layer.norm is not None and layer.mode != "keep"),)
        self._scales: Tensor | None = None
        self._read: tuple[Tensor, Tensor] | None = None
        if self.layers:
            eps = torch.tensor([n.eps for n in self._norms() for _ in range(n.num_features)]).double()
            self.hold("eps", eps.to(self.layers[0].layer.weight.device))
            self.hold("eps32", self.held["eps"].float())

    @property
    def layers(self) -> tuple[NormedLayer, ...]:
        """The layers that have a norm to fold."""
        return self._layers[0]

    def forward(self) -> list[Folded]:
        """The norms of all layers as they are now, in order."""
        if not self.layers:
            return []
        mean, variance = self._statistics()
        (gamma, beta), inner = self._affine(), self._biases()
        # as mpq_plugins.graph.folded_norms has it, step by step
        scale = gamma / torch.sqrt(variance.double() + self.held["eps"])
        by_channel = scale.detach().to(mean)
        self._scales = by_channel
        wide = mean.double()
        inner = -wide if inner is None else inner - wide
        bias = (inner * scale + beta).to(mean)
        steps = [layer.bias_steps for layer in self.layers]
        given = [s for s in steps if s is not None]
        if given:
            rounded = TORCH.fake_quantize(bias, torch.cat(given), -INT32_LIMIT, INT32_LIMIT)
            beta = beta + (rounded - bias).detach()
            bias = rounded
        counts = [norm.num_features for norm in self._norms()]
        parts = (value.split(counts) for value in (scale, gamma * torch.sign(by_channel), beta, bias))
        return [Folded(*part) for part in zip(*parts, strict=True)]

    @torch.no_grad()
    def move(self, seen: Sequence[tuple[NormedLayer, Statistics]]) -> None:
        """Move running statistics by those of every call of a layer in this step, in the order of the calls."""
        if repeats() or self._scales is None:
            return
        rounds: list[dict[int, Statistics]] = []
        places = {id(layer): place for place, layer in enumerate(self.layers)}
        for layer, statistics in seen:
            place = places[id(layer)]
            now = next((r for r in rounds if place not in r), None)
            if now is None:
                rounds.append(now := {})
            now[place] = statistics
        for calls in rounds:
            self._move(calls)

    def _move(self, calls: dict[int, Statistics]) -> None:
        """Move the statistics of these layers by one call of each."""
        every = self._norms()
        places = [place for place in sorted(calls) if every[place].track_running_stats]
        if not places:
            return
        norms = [every[place] for place in places]
        sizes = [norm.num_features for norm in norms]
        batches = [calls[place] for place in places]
        whole = len(places) == len(self.layers)
        scale, eps = self._scales, self.held["eps32"]
        assert scale is not None
        if not whole:
            widths = [norm.num_features for norm in every]
            scale, eps = (torch.cat([v.split(widths)[place] for place in places]) for v in (scale, eps))
        mean, inverse = (torch.cat([getattr(b, name) for b in batches]) for name in ("mean", "inverse"))
        device = mean.device
        ratio = self._per_channel("ratio", [b.values / max(1, b.values - 1) for b in batches], sizes, device)
        torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
        given = [norm.momentum for norm in norms if norm.momentum is not None]
        if len(given) < len(norms):
            momentum = torch.cat([_momentum(norm, mean) for norm in norms])
        else:
            momentum = self._per_channel("momentum", given, sizes, device)
        variance = (inverse**-2 - eps).clamp_(min=0) * ratio
        live = scale.abs() > torch.finfo(scale.dtype).tiny
        inner = torch.where(live, scale, 1.0)
        biases = [self.layers[place].layer.bias for place in places]
        batch_mean = mean / inner
        if any(bias is not None for bias in biases):
            zeros = mean.new_zeros(max(sizes))
            parts = [zeros[:size] if b is None else b.detach() for b, size in zip(biases, sizes, strict=True)]
            batch_mean = batch_mean + torch.cat(parts)
        running_mean, running_var = (torch.cat([getattr(n, f"running_{w}") for n in norms]) for w in ("mean", "var"))
        moved_mean = torch.where(live, running_mean + momentum * (batch_mean - running_mean), running_mean)
        moved_var = torch.where(live, running_var + momentum * (variance / inner**2 - running_var), running_var)
        torch._foreach_copy_(
            [norm.running_mean for norm in norms] + [norm.running_var for norm in norms],
            [*moved_mean.split(sizes), *moved_var.split(sizes)],
        )

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Running mean and variance of all channels; in a forward pass that repeats one, what that one read."""
        if repeats() and self._read is not None:
            return self._read
        norms = self._norms()
        read = torch.cat([norm.running_mean for norm in norms]), torch.cat([norm.running_var for norm in norms])
        self._read = read if any(norm.training for norm in norms) else None
        return read

    def _affine(self) -> tuple[Tensor, Tensor]:
        """gamma and beta, [channels]."""
        norms = self._norms()
        gammas = [torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight for norm in norms]
        betas = [torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias for norm in norms]
        return torch.cat(gammas), torch.cat(betas)

    def _biases(self) -> Tensor | None:
        """The layers' own biases, [channels]; None where no layer has one."""
        found = [layer.layer.bias for layer in self.layers]
        if all(bias is None for bias in found):
            return None
        pairs = zip(found, self._norms(), strict=True)
        return torch.cat([torch.zeros_like(norm.running_mean) if bias is None else bias for bias, norm in pairs])

    def _norms(self) -> list[BatchNorm]:
        return [layer.norm for layer in self.layers if layer.norm is not None]

    def _per_channel(self, name: str, values: Sequence[float], sizes: Sequence[int], device: torch.device) -> Tensor:
        """A number of every layer, for each of its channels; kept until it changes."""
        key = f"{name} {tuple(values)} {tuple(sizes)}"
        if key not in self.held:
            spread = [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]
            self.held = {k: v for k, v in self.held.items() if not k.startswith(f"{name} ")}
            self.hold(key, torch.tensor(spread, device=device))
        return self.held[key]

    def __getstate__(self) -> dict[str, object]:
        # what a forward pass left belongs to its step, and to no copy
        return {**self.__dict__, "_scales": None, "_read": None}


def _momentum(norm: BatchNorm, like: Tensor) -> Tensor:
    """The momentum of a norm, [channels]; of a cumulative average that of this batch."""
    if norm.momentum is not None:
        return like.new_full((norm.num_features,), norm.momentum)
    return (1.0 / norm.num_batches_tracked.to(like.dtype)).expand(norm.num_features)
