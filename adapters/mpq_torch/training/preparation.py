"""The first and the last module of a training graph: what is done once a step for all layers and all sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mpq_plugins.errors import MPQError
from mpq_torch.array_ops.autograd import applied
from mpq_torch.training.bank_rows import Row
from mpq_torch.training.batch_norms import Folded, FoldedNorms, Statistics
from mpq_torch.training.grid_bank import GridBank
from mpq_torch.training.held_tensors import HeldTensors
from mpq_torch.training.replay import repeats
from mpq_torch.training.site_quantizer import SiteQuantizer
from mpq_torch.training.trained_layer import Prepared, TrainedLayer

FIRST_BAD, CLOCK = "first bad step", "clock"


class Preparation(nn.Module):
    """Folds all norms, asks all banks for their grids, and quantizes all weights.

    banks: of all grid groups. layers: by the name of their weight's group. ``forward`` gives the prepared
    layers by the order of ``layers``, and then the rows of the other groups by the order of ``sites``.
    """

    banks: Sequence[GridBank]

    def __init__(
        self, banks: Sequence[GridBank], layers: Mapping[str, TrainedLayer], sites: Mapping[str, SiteQuantizer]
    ) -> None:
        super().__init__()
        self.banks = cast("Sequence[GridBank]", nn.ModuleList(banks))  # for torch of modules of any kind
        self._layers = (dict(layers),)
        self.names = tuple(sites)
        self._norms = (FoldedNorms(list(layers.values())),)

    @property
    def layers(self) -> dict[str, TrainedLayer]:
        """The trained layers, by the name of their weight's group."""
        return self._layers[0]

    @property
    def norms(self) -> FoldedNorms:
        """The norms of all layers."""
        return self._norms[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Preparation:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # as torch has it
        self.norms._apply(fn)
        return self

    def weights(self) -> dict[str, tuple[Tensor, Folded | None]]:
        """What is quantized of every layer, with its folded norm, by the name of its weight's group."""
        for layer in self.layers.values():
            layer.compute()
        folded = dict(zip(map(id, self.norms.layers), self.norms(), strict=True))
        found = {}
        for name, layer in self.layers.items():
            norm = folded.get(id(layer))
            found[name] = (layer.weight_to_quantize(norm), norm)
        return found

    def regularization(self) -> list[Tensor]:
        """The loss terms of the weights."""
        reading = any(bank.method.regularizes_weights(bank.plain) for bank in self._open())
        weights = self.weights() if reading else {}
        terms = [
            bank.regularization([weights[s.name][0] for s in bank.plain.slots] if reading else [])
            for bank in self._open()
        ]
        return [term for term in terms if term is not None]

    def forward(self) -> tuple[Any, ...]:
        check_whole([*self.parameters(), *(p for layer in self.layers.values() for p in layer.layer.parameters())])
        weights = self.weights()
        rows: dict[str, Row] = {}
        for bank in self.banks:
            of_weights = bank.plain.kind == "weight"
            own = [weights[slot.name][0] for slot in bank.plain.slots] if of_weights else None
            rows |= {slot.name: row for slot, row in zip(bank.plain.slots, bank(own), strict=True)}
        prepared = tuple(
            Prepared(layer.quantizer(weights[name][0], rows[name]), weights[name][1])
            for name, layer in self.layers.items()
        )
        return (*prepared, *(rows[name] for name in self.names))

    def _open(self) -> list[GridBank]:
        return [bank for bank in self.banks if bank.fixed is None and bank.plain.kind == "weight"]


def check_whole(parameters: Sequence[Tensor]) -> None:
    """Raise MPQError where a parameter is only a part of itself, as after fully_shard."""
    if any(type(parameter).__name__ == "DTensor" for parameter in parameters):
        raise MPQError(
            "fully_shard (FSDP2) has split the parameters of this search's model, and steps of grids are found on "
            "whole weights; train with DistributedDataParallel instead"
        )


class Completion(HeldTensors):
    """Writes the running statistics, and notes the first step whose output was not finite.

    Parameters that take no part any more, those of banks that are fixed, get the gradient of nothing here,
    so that a wrapper that waits for all gradients does not wait for ever.
    """

    def __init__(self, preparation: Preparation, layers: Sequence[TrainedLayer]) -> None:
        super().__init__()
        # in tuples: they are modules of the graph itself
        self._preparation, self._layers = (preparation,), tuple(layers)
        self.hold(FIRST_BAD, torch.tensor(float("inf")))
        self.hold(CLOCK, torch.tensor(0.0))

    def forward(self, output: Any, *statistics: Statistics | None) -> Any:
        """The output itself. statistics: of every call of a layer."""
        preparation = self._preparation[0]
        seen = [(layer, s) for layer, s in zip(self._layers, statistics, strict=True) if s is not None]
        if seen:
            preparation.norms.move(seen)
        if self.training and not repeats():
            self._note(output)
        idle = [p for bank in preparation.banks if bank.fixed is not None for p in bank.parameters()]
        if idle and isinstance(output, Tensor) and torch.is_grad_enabled():
            return applied(_Beside, output, *idle)
        return output

    def first_bad_step(self) -> int | None:
        """The first step whose output was not finite; None where all were. Waits for the device."""
        found = float(self.held[FIRST_BAD])
        return None if found == float("inf") else int(found)

    @torch.no_grad()
    def _note(self, output: Any) -> None:
        tensors = [t for t in _tensors(output) if t.is_floating_point() and t.numel()]
        for tensor in tensors:
            largest = tensor.detach().abs().amax().float()
            bad = torch.minimum(self.held[FIRST_BAD], self.held[CLOCK])
            # not a number is less than nothing, infinity included
            self.held[FIRST_BAD].copy_(torch.where(largest < float("inf"), self.held[FIRST_BAD], bad))


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [tensor for value in values for tensor in _tensors(value)]


class _Beside(torch.autograd.Function):
    """The first argument; the others get no gradient, but their turn in backward."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *idle: Tensor) -> Tensor:
        ctx.count = len(idle)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (gradient, *([None] * ctx.count))
