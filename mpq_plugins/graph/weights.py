"""Weights as the framework of a layout has them, and the grids that belong to them.

A Node's weight is [out, in / groups, rows, columns], a linear's [out, in]. torch (NCHW) agrees but for transposed
convolutions, [in, out / groups, rows, columns]; Keras (NHWC) has [rows, columns, in, out], depthwise
[rows, columns, in, multiplier], transposed [rows, columns, out, in], dense [in, out]. Sites and recipes have the
framework's shapes and axes; whatever computes takes rows: [out, ...], with the grid along axis 0.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.graph.node import Layout, Node, Weight
from mpq_plugins.grid import Grid


def groups_of(node: Node) -> int:
    """Of how many independent parts, of inputs and outputs, the products of a layer are."""
    return 1 if node.op == "linear" else int(node.attrs["groups"])


def as_framework(node: Node, layout: Layout, weight: NDArray[Any] | None = None) -> NDArray[Any]:
    """A weight of the node (its own, if none is given) as the layout's framework lays it out."""
    w = node.weight if weight is None else weight
    assert w is not None
    if node.op == "linear":
        return w if layout == "NCHW" else w.T
    groups = int(node.attrs["groups"])
    if layout == "NCHW":
        return _swapped(w, groups) if node.op.startswith("conv_transpose") else w
    kernel_first = np.moveaxis(w, (0, 1), (-1, -2))  # [..., in / groups, out]
    if node.op.startswith("depthwise"):
        return kernel_first.reshape(*kernel_first.shape[:-2], groups, -1)
    return kernel_first.swapaxes(-1, -2) if node.op.startswith("conv_transpose") else kernel_first


def from_framework(op: str, layout: Layout, weight: NDArray[Any], groups: int = 1) -> NDArray[Any]:
    """A weight as the layout's framework has it, as a Node's."""
    if op == "linear":
        return weight if layout == "NCHW" else weight.T
    if layout == "NCHW":
        return _swapped(weight, groups) if op.startswith("conv_transpose") else weight
    if op.startswith("depthwise"):
        weight = weight.reshape(*weight.shape[:-2], 1, -1)
    elif op.startswith("conv_transpose"):
        weight = weight.swapaxes(-1, -2)
    return np.moveaxis(weight, (-1, -2), (0, 1))


def channel_axis(node: Node, layout: Layout) -> int | None:
    """The axis of the output channels of the weight as the layout's framework has it.

    None where they lie along two: of Keras' depthwise convolutions that make several channels of each, and of torch's
    transposed ones in groups.
    """
    assert node.weight is not None
    if layout == "NHWC" and node.op.startswith("depthwise") and len(node.weight) > node.attrs["groups"]:
        return None
    transposed = node.op.startswith("conv_transpose")
    if layout == "NCHW":
        return 0 if not transposed else 1 if node.attrs["groups"] == 1 else None
    return node.weight.ndim - (2 if transposed or node.op.startswith("depthwise") else 1)


def by_rows(node: Node, grid: Grid) -> Grid:
    """The grid of the weight as rows: one step, or one per output channel along axis 0.

    The groups of a transposed convolution share the steps of their channels. Raises GridError for a grid of
    another number of channels.
    """
    if grid.axis is None:
        return grid
    assert node.weight is not None
    channels = len(node.weight)
    if channels % len(grid.steps):
        raise GridError(f"{node.weight_site}: a grid of {len(grid.steps)} channels for {channels} output channels")
    return replace(grid, steps=grid.steps * (channels // len(grid.steps)), axis=0)


def accumulator_steps(node: Node, weight: Grid, source: Grid) -> NDArray[np.float64]:
    """step_input * step_weight of each output channel, [out]; weight: of the rows, or as the recipe has it."""
    assert node.weight is not None
    steps = np.asarray(by_rows(node, weight).steps) * source.steps[0]
    return np.broadcast_to(steps, (len(node.weight),))


def matrix_shape(node: Node) -> tuple[int, int]:
    """The shape of ``matrix``."""
    assert node.weight is not None
    return len(node.weight), math.prod(node.weight.shape[1:])


def matrix(node: Node) -> Weight:
    """The weight as [out, in / groups * kernel]: rows of all groups one after another; transposed kernels flipped.

    A transposed convolution is a convolution of the zero-stuffed input with the flipped kernel.
    """
    assert node.weight is not None
    return np.ascontiguousarray(_as_convolved(node, node.weight).reshape(len(node.weight), -1))


def from_matrix(node: Node, rows: Weight) -> Weight:
    """The inverse of ``matrix``."""
    assert node.weight is not None
    return np.ascontiguousarray(_as_convolved(node, np.asarray(rows).reshape(node.weight.shape)))


def flipped(weight: NDArray[Any]) -> NDArray[Any]:
    """A weight with its kernel the other way round along every axis."""
    return np.asarray(np.flip(weight, tuple(range(2, weight.ndim))))


def _as_convolved(node: Node, weight: NDArray[Any]) -> NDArray[Any]:
    return flipped(weight) if node.op.startswith("conv_transpose") else weight


def _swapped(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """[out, in / groups, ...] as [in, out / groups, ...], and back."""
    split: NDArray[Any] = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return split.reshape(-1, *split.shape[2:])
