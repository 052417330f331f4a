"""The float weights that torchao leaves in a converted module beside their int8 codes."""

from __future__ import annotations

from torch import fx


def drop_float_weights(converted: fx.GraphModule) -> None:
    """Delete the parameters and buffers that no node of the graph reads, in place."""
    read = {str(node.target) for node in converted.graph.nodes if node.op == "get_attr"}
    held = [name for name, _ in (*converted.named_parameters(), *converted.named_buffers())]
    for name in held:
        if name not in read:
            path, _, leaf = name.rpartition(".")
            delattr(converted.get_submodule(path), leaf)
