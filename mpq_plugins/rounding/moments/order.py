"""The order in which a sweep rounds the layers of a model, whatever order a framework lists its ops in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def sweep_order(
    inputs: Mapping[str, Sequence[str]], layers: Collection[str], last_operands: Collection[str]
) -> list[str]:
    """The ops by depth: how many layers stand on the longest way to them, themselves included.

    A layer can make up for the error of what its output is added to only if that is known before it. So the
    deeper of two branches comes last, and of two equally deep layers the second operand of their add.

    inputs: op -> the ops it reads, in an order of execution. layers: the ops with a weight. last_operands: layers
    whose output is read by nothing but an add, as its last operand.

    >>> inputs = {"x": (), "a": ("x",), "b": ("a",), "short": ("x",), "add": ("b", "short")}
    >>> sweep_order(inputs, {"a", "b", "short"}, {"short"})
    ['x', 'a', 'short', 'b', 'add']
    """
    depth: dict[str, int] = {}
    for name, sources in inputs.items():
        depth[name] = max((depth[source] for source in sources), default=0) + (name in layers)

    def place(name: str) -> tuple[int, int]:
        # no layer reads what is as deep as itself, so all layers of a depth can go before its other ops
        return depth[name], (1 if name in last_operands else 0) if name in layers else 2

    return sorted(inputs, key=place)
