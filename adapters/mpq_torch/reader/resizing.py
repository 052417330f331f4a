"""Interpolation: nearest to any size, and all that is a weighted sum along each axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.interpolation import weights_along
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch
from mpq_plugins.graph.volumes import Volumes
from mpq_torch.reader.call import Call, Made, Rule, whole

WEIGHTED = ("linear", "bilinear", "bicubic", "area")
_NAMES = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")


def interpolate(call: Call) -> Made:
    """F.interpolate and nn.Upsample of images and signals."""
    mode = call.given(3, "mode", "nearest")
    volumes = len(call.shape) == 5 and mode == "nearest"
    if not (len(call.shape) in (3, 4) or volumes) or not isinstance(call.in_shape[0], Batch):
        return call.unknown("interpolation of anything but images and signals has no integer kernel")
    if mode in WEIGHTED:
        made, x = Composing(call.name, "NCHW"), Part(call.inputs[0], call.in_shape)
        return made.done(made.resized(x, {axis: _weights(call, axis) for axis in range(2, len(call.shape))}))
    if mode != "nearest":
        return call.unknown(f"interpolation mode {mode!r} has no exact integer kernel")
    pairs = [(whole(out), whole(n)) for out, n in zip(call.shape[2:], call.in_shape[2:], strict=True)]
    sources = [_sources(call, axis) for axis in range(len(pairs))]
    repeated = [tuple(index // max(out // n, 1) for index in range(out)) for out, n in pairs]
    if sources == repeated and len(pairs) == 2:
        return call.made("upsample", attrs={"times": (1, 1, *(out // n for out, n in pairs))})
    if volumes and sources == repeated:
        images = Volumes(call.name, "NCHW")
        times = [out // n for out, n in pairs]
        return images.done(images.repeated_elements(Part(call.inputs[0], call.in_shape), times))
    if volumes:
        return call.unknown("interpolation of volumes by no whole factor has no integer kernel")
    if sources == repeated:
        made, x = Composing(call.name, "NCHW"), Part(call.inputs[0], call.in_shape)
        return made.done(made.repeated(x, {2: pairs[0][0] // pairs[0][1]}))
    if len(pairs) == 1:
        return call.unknown("nearest interpolation of signals by no whole factor has no integer kernel")
    attrs = {"sources": (None, None, *sources), "scale": _scale(call, len(pairs))}
    return call.made("nearest", attrs=attrs)


def _scale(call: Call, dims: int) -> tuple[float, ...] | None:
    """The factors that torch counts by; None where it counts by the sizes."""
    size, scale, again = (_given(call)[name] for name in ("size", "scale_factor", "recompute_scale_factor"))
    if size is not None or again or scale is None:
        return None
    return tuple(map(float, scale)) if isinstance(scale, (list, tuple)) else (float(scale),) * dims


def _given(call: Call) -> dict[str, Any]:
    """The arguments of the interpolation by their names."""
    if call.module is not None:
        return {name: getattr(call.module, name, None) for name in _NAMES}
    return {name: call.argument(1 + index, name) for index, name in enumerate(_NAMES)}


def _resized(call: Call, image: Tensor) -> Tensor:
    """What torch itself makes of another image of the same size."""
    given = {name: value for name, value in _given(call).items() if value is not None}
    return F.interpolate(image.contiguous(), **given)


def _sources(call: Call, axis: int) -> tuple[int, ...]:
    """The index from which nearest interpolation takes each element of a spatial axis."""
    inside = [whole(size) for size in call.in_shape[2:]]
    ramp = torch.arange(inside[axis], dtype=torch.float32)
    image = ramp.reshape([-1 if other == axis else 1 for other in range(len(inside))]).expand(*inside)[None, None]
    moved = _resized(call, image)
    return tuple(int(value) for value in moved[0, 0].movedim(axis, 0).reshape(moved.shape[2 + axis], -1)[:, 0])


def _weights(call: Call, axis: int) -> NDArray[np.float64]:
    """The weight of each element of an axis in each of the output, [out, in]."""

    def resize(images: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = _resized(call, torch.from_numpy(images)[:, None])[:, 0].numpy()
        return found

    return weights_along([whole(size) for size in call.in_shape[2:]], axis - 2, resize)


MODULES: dict[Any, Rule] = {nn.Upsample: interpolate}
FUNCTIONS: dict[Any, Rule] = {F.interpolate: interpolate}
