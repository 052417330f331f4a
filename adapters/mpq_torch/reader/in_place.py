"""Readers of a tensor that an op overwrites: in the graph they must read what was written."""

from __future__ import annotations

from torch import fx

from mpq_torch.reader.shape_values import is_shape_value


def redirect_readers(graph: fx.GraphModule) -> None:
    """Let what runs after an in-place op read its result instead of the tensor it overwrote, in place.

    ``y = relu_(x); z = y + x`` adds relu(x) to itself, and a Graph, whose ops overwrite
    nothing, has to say so. Out of reach: the base of a view that is overwritten, and ``y += z``, which
    torch.fx itself traces as ``y = y + z``.
    """
    before: set[fx.Node] = set()
    for node in list(graph.graph.nodes):
        before.add(node)
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or is_shape_value(source) or not _overwrites(graph, node):
            continue
        for reader in list(source.users):
            if reader not in before:
                reader.replace_input_with(source, node)


def _overwrites(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function":
        return False
    name = getattr(node.target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or name.endswith("_")
