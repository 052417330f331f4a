"""The same elements in the same order under the node's own shape."""

from __future__ import annotations

from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def reshaped(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The batch keeps what is left over, so that every batch size fits."""
    return run.reshape(x, tuple(-1 if isinstance(size, Batch) else size for size in node.shape))


OPS = (
    Op(
        "reshape",
        reshaped,
        grid="alias",
        ordered=True,
        integers=lambda steps, node: steps.reshape(node),
        spellings={"litert": ("RESHAPE",)},
    ),
)
