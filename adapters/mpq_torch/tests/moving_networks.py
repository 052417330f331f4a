"""Small torch models that move elements between their layers, in the ways that networks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Moved(nn.Module):
    """A convolution, a function that moves what it gives, and a convolution over that."""

    def __init__(self, move: Callable[[Tensor], Tensor], dims: int = 2) -> None:
        super().__init__()
        self.move = move
        self.first = (nn.Conv1d, nn.Conv2d)[dims - 1](3, 8, 1)
        with torch.no_grad():
            shape = move(torch.zeros(2, 8, *(6, 9)[:dims])).shape
        self.last = (nn.Conv1d, nn.Conv2d)[len(shape) - 3](shape[1], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.move(F.relu(self.first(x))))


class Halves(nn.Module):
    """A block of YOLO's: halves in a list, more of them behind it, and all of them joined."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 1)
        self.more = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = list(F.relu(self.wide(x)).chunk(2, 1))
        for layer in self.more:
            y.append(F.relu(layer(y[-1])))
        return self.last(torch.cat(y, 1))


class Bordered(nn.Module):
    """Convolutions that pad with the input's own elements, or more on one side."""

    def __init__(self) -> None:
        super().__init__()
        self.reflected = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect")
        self.lopsided = nn.Conv2d(4, 4, (2, 4), padding="same")
        self.round = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4)
        self.edges = nn.Conv2d(4, 4, 3, padding="same", padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        return self.edges(F.relu(self.round(F.relu(self.lopsided(F.relu(self.reflected(x)))))))


def _swapped(x: Tensor) -> Tensor:
    first, second = x.split([3, 5], dim=1)
    return torch.cat((second, first), 1)


def _turns(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _unbound(x: Tensor) -> Tensor:
    rows = x.unbind(2)
    return torch.stack((rows[3], rows[0], rows[-1]), 2)


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "rows_behind_the_first": lambda x: x[:, :, 1:],
    "channels_by_halves": lambda x: torch.cat((x[:, 4:], x[:, :4]), 1),
    "every_third_of_both": lambda x: x[:, 1:-1, ::3, 1::3],
    "every_second_and_fourth": lambda x: x[:, :, ::2, ::4],
    "negative_bounds": lambda x: x[..., -5:-1],
    "one_row_and_a_new_axis": lambda x: x[:, :, 2][:, :, None],
    "narrow": lambda x: torch.narrow(x, 3, 2, 5),
    "select": lambda x: x.select(2, -1).unsqueeze(2),
    "a_chunk": lambda x: x.chunk(3, 3)[2],
    "splits_by_sizes": _swapped,
    "unbound_and_stacked": _unbound,
    "flip": lambda x: x.flip(1, 3),
    "roll": lambda x: torch.roll(x, (2, -1), (2, 1)),
    "repeat": lambda x: x.repeat(1, 1, 1, 2),
    "expand": lambda x: x[:, :, :1].expand(-1, -1, 4, -1),
    "pixels_out_of_channels": lambda x: F.pixel_shuffle(x, 2),
    "pixels_into_channels": lambda x: F.pixel_unshuffle(x[..., :8], 2),
    "channels_in_turns": _turns,
    "channel_shuffle": lambda x: F.channel_shuffle(x, 4),
    "reflected": lambda x: F.pad(x, (2, 1, 0, 3), mode="reflect"),
    "replicated": lambda x: F.pad(x, (2, 0, 0, 3), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 1, 0), mode="circular"),
    "cropped_and_padded": lambda x: F.pad(x, (-1, 2, 0, -3)),
    "moved_axes": lambda x: x.movedim(2, 3).swapaxes(1, 2),
}


NAMES = (*MOVES, "halves", "bordered")


def moved(name: str, dims: int = 2) -> tuple[nn.Module, Any]:
    """A network around a move, or one by its name, and its input."""
    torch.manual_seed(3)
    model = {"halves": Halves, "bordered": Bordered}.get(name, lambda: Moved(MOVES[name], dims))().eval()
    return model, torch.randn(3, 3, *(6, 9)[:dims], generator=torch.Generator().manual_seed(5))
