"""torch's sums, products and norms along axes, and sampling at places that are computed, as functions of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.node import Batch
from mpq_torch.reader.call import Call, array_of

Found = tuple[str, dict[str, Any]] | None


def _axes(call: Call, place: int, name: str = "dim") -> tuple[int, ...] | None:
    """Axes that a function of one tensor is given; None for all of them, along which samples lie too."""
    given = call.argument(place, name)
    if given is None:
        return None
    given = (given,) if isinstance(given, int) else tuple(given)
    return tuple(int(axis) % len(call.in_shape) for axis in given)


def _running(call: Call) -> Found:
    """The sum of all elements up to each one along an axis; its type is float32, or whole numbers'."""
    axes = _axes(call, 1)
    kind = call.argument(2, "dtype")
    if axes is None or kind not in (None, torch.float32, torch.int64, torch.int32):
        return None
    return "cumsum", {"input": call.tensor(), "axis": axes[0]}


def _along(word: str) -> Callable[[Call], Found]:
    """A function along axes that go, or stay with one element."""

    def found(call: Call) -> Found:
        axes = _axes(call, 1)
        if axes is None or call.node.kwargs.get("dtype") is not None:
            return None
        keeps = bool(call.argument(2, "keepdim", False))
        return word, {"input": call.tensor(), "axes": axes, "keepdims": keeps}

    return found


def _norm(order: str, places: tuple[int, int, int], default: Any = None) -> Callable[[Call], Found]:
    """A norm of the elements along axes. order: torch's name of which one. places: of that, the axes and keepdim."""

    def found(call: Call) -> Found:
        kind, axes = call.argument(places[0], order, default), _axes(call, places[1])
        power = {None: 2, "fro": 2, 1: 1, 2: 2}.get(kind)
        matrix = axes is not None and len(axes) > 1 and order == "ord" and kind is not None and kind != "fro"
        if axes is None or power is None or matrix:
            return None
        keeps = bool(call.argument(places[2], "keepdim", False))
        return "norm", {"input": call.tensor(), "axes": axes, "power": power, "keepdims": keeps}

    return found


def _xlogy(call: Call) -> Found:
    return "xlogy", {"input": call.argument(0, "input"), "other": call.argument(1, "other")}


def _made_numbers(call: Call) -> Found:
    largest = torch.finfo(torch.float32).max
    given = {"nan": 0.0, "high": largest, "low": -largest}
    for place, (name, key) in enumerate({"nan": "nan", "posinf": "high", "neginf": "low"}.items(), 1):
        value = call.argument(place, name)
        given[key] = given[key] if value is None else float(value)
    return "nan_to_num", {"input": call.tensor(), **given}


def _local_response(call: Call) -> Found:
    """Of an odd number of channels around each; of an even one torch and others take another channel."""
    names = {"size": None, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
    found = {name: call.given(place, name, default) for place, (name, default) in enumerate(names.items(), 1)}
    if found["size"] % 2 == 0 or len(call.in_shape) != 4:
        return None
    return "local_response", {"input": call.tensor(), **found}


def _sampled(call: Call) -> Found:
    """An image at places that the model computes."""
    names = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": None}
    given = {name: call.argument(place, name, value) for place, (name, value) in enumerate(names.items(), 2)}
    given["align_corners"] = bool(given["align_corners"])
    return "grid_sample", {"input": call.tensor(), "grid": call.argument(1, "grid"), **given}


def _affine(call: Call) -> Found:
    """The places of an image's elements in another, by a matrix."""
    sizes = call.shape[1:-1]
    if not sizes or any(isinstance(size, Batch) for size in sizes):
        return None
    corners = bool(call.argument(2, "align_corners", False))
    return "affine_grid", {"input": call.argument(0, "theta"), "sizes": sizes, "align_corners": corners}


def _bag(call: Call) -> Found:
    """The mean, sum or maximum of a sample's rows of a table, all of them."""
    layer: Any = call.module
    if len(call.in_shape) != 2 or len(call.node.args) + len(call.node.kwargs) > 1 or layer.padding_idx is not None:
        return None
    if layer.max_norm is not None:
        return None
    return "embedding_bag", {"input": call.tensor(), "weight": array_of(layer.weight), "mode": layer.mode}


SPECIAL: dict[Any, Callable[[Call], Found]] = {
    **dict.fromkeys([torch.cumsum, "cumsum"], _running),
    **dict.fromkeys([torch.prod, "prod"], _along("prod")),
    **dict.fromkeys([torch.logsumexp, torch.special.logsumexp, "logsumexp"], _along("log_sum_exp")),
    **dict.fromkeys([torch.norm, "norm"], _norm("p", (1, 2, 3), "fro")),
    torch.linalg.norm: _norm("ord", (1, 2, 3)),
    torch.linalg.vector_norm: _norm("ord", (1, 2, 3), 2),
    **dict.fromkeys([torch.xlogy, torch.special.xlogy, "xlogy"], _xlogy),
    **dict.fromkeys([torch.nan_to_num, "nan_to_num"], _made_numbers),
    **dict.fromkeys([F.local_response_norm, nn.LocalResponseNorm], _local_response),
    F.grid_sample: _sampled,
    F.affine_grid: _affine,
    nn.EmbeddingBag: _bag,
}
