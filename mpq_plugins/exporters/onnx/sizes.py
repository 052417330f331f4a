"""Sizes in an ONNX graph: numbers, and the batch as a name or, where it is fixed, as a number."""

from __future__ import annotations

from dataclasses import dataclass

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import Batch, Node, Shape

BATCH = "batch"
FIXED = "pass dynamic_batch=False to export for the batch size of the example"
NEEDS_EXAMPLE = "dynamic_batch=False fixes the batch at that of the example: pass example_inputs"


@dataclass(frozen=True)
class Sizes:
    """batch: the number of samples; None leaves it open."""

    batch: int | None = None

    def declared(self, shape: Shape) -> list[int | str]:
        """A shape as inputs and outputs have it."""
        return [size if isinstance(size, int) else self._named(size) for size in shape]

    def asked(self, shape: Shape) -> list[int]:
        """A shape as Reshape takes it: -1 for what is open."""
        if self.batch is None:
            return [size if isinstance(size, int) else -1 for size in shape]
        return [size if isinstance(size, int) else size.times * self.batch for size in shape]

    def check(self, node: Node) -> None:
        """Raise ModelError where more than one axis of a node's output is open."""
        grows = [axis for axis, size in enumerate(node.shape) if isinstance(size, Batch)]
        if self.batch is None and len(grows) > 1:
            one, two = (tuple(Sizes(samples).asked(node.shape)) for samples in (1, 2))
            raise ModelError(
                f"{node.name}: its shape is {one} for one sample and {two} for two, and ONNX can have one dynamic "
                f"dimension here, that of the batch; {FIXED}"
            )

    def _named(self, size: Batch) -> int | str:
        if self.batch is not None:
            return size.times * self.batch
        return BATCH if size.times == 1 else f"{size.times}*{BATCH}"
