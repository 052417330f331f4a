"""The arguments of a traced graph: what lies in dicts, lists and tuples is read by items of a placeholder."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from mpq_torch.calling.arguments import is_container, leaves_of
from mpq_torch.modules.written import INPUT_SUFFIX

Keys = tuple[str | int, ...]
SUFFIX = "_argument"


@dataclass(frozen=True)
class Leaf:
    """A tensor or plain value of an argument. name: of the graph's node. keys: where it is, the argument first.

    nodes: of the traced graph that give it; none where nobody reads it.
    """

    name: str
    keys: Keys
    value: Any
    nodes: tuple[fx.Node, ...]


def leaves(graph: fx.GraphModule, example: Sequence[Any]) -> Iterator[Leaf]:
    """What the arguments of a traced model hold; those that the example lacks hold their defaults."""
    placeholders = placeholders_of(graph)
    paths = paths_of(graph)
    taken: set[str] = set()
    for index, node in enumerate(placeholders):
        given = example[index] if index < len(example) else node.args[0] if node.args else None
        inside = _inside(node)
        for keys, value in leaves_of(given):
            name = beside(leaf_name(str(node.target), keys, len(placeholders)), paths)
            while name in taken:
                name += SUFFIX
            taken.add(name)
            yield Leaf(name, (str(node.target), *keys), value, tuple(inside.get(keys, ())))


def placeholders_of(graph: fx.GraphModule) -> list[fx.Node]:
    """The nodes of the arguments."""
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def containers(graph: fx.GraphModule, example: Sequence[Any]) -> set[fx.Node]:
    """The nodes that give dicts, lists and tuples of an argument, which are no tensors."""
    found: set[fx.Node] = set()
    for node, given in zip(placeholders_of(graph), example, strict=False):
        left: list[tuple[Any, Keys]] = [(given, ())] if is_container(given) else []
        inside = _inside(node)
        while left:
            value, keys = left.pop()
            found.update(inside.get(keys, ()))
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(part, (*keys, key)) for key, part in parts if is_container(part)]
    return found


def _inside(placeholder: fx.Node) -> dict[Keys, list[fx.Node]]:
    """The nodes that give an argument and what lies in it, by their keys."""
    found: dict[Keys, list[fx.Node]] = {(): [placeholder]}
    left: list[tuple[Keys, fx.Node]] = [((), placeholder)]
    while left:
        keys, node = left.pop()
        for user in node.users:
            if user.target is operator.getitem and isinstance(user.args[1], (str, int)):
                inner = (*keys, user.args[1])
                found.setdefault(inner, []).append(user)
                left.append((inner, user))
    return found


def leaf_name(argument: str, keys: Keys, arguments: int) -> str:
    """What a tensor in an argument is called: by the keys alone, where the argument is the only one, a dict."""
    alone = arguments == 1 and keys and isinstance(keys[0], str)
    return "_".join(map(str, keys if alone else (argument, *keys)))


def paths_of(graph: fx.GraphModule) -> set[str]:
    """The paths of modules and tensors that a traced graph uses."""
    held = (str(node.target) for node in graph.graph.nodes if node.op == "get_attr")
    return {*(path for path, _ in graph.named_modules()), *held}


def beside(name: str, paths: Collection[str]) -> str:
    """The name of an argument beside modules and tensors at these paths, which keep theirs.

    A module that was folded away may have had the name: a written model has the input's quantizer at the other one.
    """
    return f"{name}{SUFFIX}" if name in paths or f"{name}{SUFFIX}{INPUT_SUFFIX}" in paths else name
