"""IntegerSteps: what an op may be in an integer program, as its record says it (``Op.integers``)."""

from __future__ import annotations

from typing import Literal, Protocol

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.runner import Sides, Sizes

Movement = Literal["pad", "slice", "repeat", "transpose"]
"""What a movement of elements is for, in a word."""


class IntegerSteps(Protocol):
    """Adds the step of a node, which computes its output on its grid, before its own clamp.

    Axes and shapes are those of the node, batch included. How sums are requantized and divided is decided by the
    target and its runtime, so that an op only says what is summed.
    """

    def linear(self, node: Node) -> None:
        """A dense layer on the last axis."""

    def convolution(
        self, node: Node, stride: Sizes, padding: Sides, dilation: Sizes, groups: int, spread: Sizes | None = None
    ) -> None:
        """A convolution of images or signals.

        spread: the input's elements lie so far apart, with zeros between them, and the kernel is flipped (a transposed
        convolution); padding is then of the spread input, and may cut off.
        """

    def add(self, node: Node) -> None:
        """The sum of both inputs, sizes of one repeated."""

    def multiply(self, node: Node) -> None:
        """The product of both inputs, sizes of one repeated."""

    def matmul(self, node: Node) -> None:
        """The matrix products of both inputs."""

    def normalize(self, node: Node, axes: Sizes) -> None:
        """The norm over neighbouring axes."""

    def softmax(self, node: Node, axis: int) -> None:
        """The softmax along an axis."""

    def mean(self, node: Node, axes: Sizes) -> None:
        """The mean over whole axes."""

    def average_pool(self, node: Node) -> None:
        """The mean of each window (attrs as ``graph.windows`` reads them)."""

    def max_pool(self, node: Node) -> None:
        """The largest element of each window (attrs as ``graph.windows`` reads them, and dilation)."""

    def concat(self, node: Node, axis: int) -> None:
        """The inputs one behind another."""

    def move(
        self,
        node: Node,
        kind: Movement,
        *,
        order: Sizes | None = None,
        before: Sizes | None = None,
        step: Sizes | None = None,
        repeat: Sizes | None = None,
    ) -> None:
        """Output position o along an axis is position ``(o * step - before) / repeat`` of input axis ``order[axis]``,
        and zero where that lies outside. None: as if nothing moved."""

    def reshape(self, node: Node) -> None:
        """The same elements in the same order."""

    def same(self, node: Node) -> None:
        """The input itself."""
