"""Slices of tensors, and the module that takes them with ops that torch.ao leaves on their input's grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Sizes = tuple[int, ...]


def sliced(x: Tensor, slices: Sequence[slice]) -> Tensor:
    """The elements of a slice of each axis; steps may be below zero, which torch's own indexing refuses."""
    forward, turned = [], []
    for axis, chosen in enumerate(slices):
        if chosen.step > 0:
            forward.append(chosen)
            continue
        positions = range(x.shape[axis])[chosen]
        forward.append(slice(positions[-1], positions[0] + 1, -chosen.step))
        turned.append(axis)
    x = x[tuple(forward)]
    return x.flip(turned) if turned else x


class Slice(nn.Module):
    """A slice of each axis. sizes: how many elements each slice has, -1 of the batch.

    torch.ao has no quantized pattern for indexing or flips; narrow, concat and reshape stay on the grid. A slice by
    steps is the first column of the axis folded by the step, whose last row is filled up. torch.export and
    torch.compile get the slices.
    """

    def __init__(self, slices: tuple[slice, ...], sizes: Sizes) -> None:
        super().__init__()
        self.slices = slices
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return sliced(x, self.slices)
        for axis, (chosen, size) in enumerate(zip(self.slices, self.sizes, strict=True)):
            if chosen.step < 0:
                positions = [chosen.start + chosen.step * index for index in range(size)]
                x = torch.cat([torch.narrow(x, axis, position, 1) for position in positions], axis)
            elif chosen != slice(0, None, 1):
                x = torch.narrow(x, axis, chosen.start, (size - 1) * chosen.step + 1)
                if chosen.step > 1:
                    x = torch.cat([x, *[torch.narrow(x, axis, 0, 1)] * (chosen.step - 1)], axis)
        steps = [max(chosen.step, 1) for chosen in self.slices]
        if max(steps) > 1:
            folded: list[int] = []
            at: list[int] = []
            for size, step in zip(self.sizes, steps, strict=True):
                folded.append(size)
                if step > 1:
                    at.append(len(folded))
                    folded.append(step)
            x = x.reshape(*folded)
            for axis in at:
                x = torch.narrow(x, axis, 0, 1)
            x = x.reshape(*self.sizes)
        return x.contiguous()

    def extra_repr(self) -> str:
        return ", ".join(f"{each.start}:{'' if each.stop is None else each.stop}:{each.step}" for each in self.slices)
