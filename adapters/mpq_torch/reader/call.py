"""One call of a traced graph, as the rules that make nodes of it see it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.graph.node import UNKNOWN, Batch, Node, Shape
from mpq_torch.reader.shapes import Observed

_AGAIN = re.compile(r"__call\d+$")
"""What the names of further calls of a module end with."""


@dataclass(frozen=True)
class Call:
    """node: of the traced graph. name: of the node to make. module: that it calls; None of a function.

    names: of the graph's nodes by traced node. observed: shapes and numbers. attribute: gives a tensor of the model by
    its path.
    """

    node: fx.Node
    name: str
    module: nn.Module | None
    names: dict[fx.Node, str]
    observed: Observed
    attribute: Callable[[str], Any]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of a function, by position or name; sizes that the model computes as the numbers they are."""
        node = self.node
        found = node.args[position] if len(node.args) > position else node.kwargs.get(name, default)
        return fx.node.map_arg(found, lambda n: self.observed.values.get(n, n))

    def numbers(self, position: int, name: str) -> tuple[Any, ...]:
        """The numbers that a method takes in a list, or one by one as its last arguments."""
        first = self.argument(position, name)
        if isinstance(first, (list, tuple)):
            return tuple(first)
        return tuple(self.argument(place, name) for place in range(position, len(self.node.args)))

    def tensor(self, position: int = 0, name: str = "input") -> fx.Node:
        """The node of an argument that is a tensor."""
        found = self.argument(position, name)
        assert isinstance(found, fx.Node), f"{self.name}: argument {name} is no tensor"
        return found

    def setting(self, name: str) -> Any:
        """What the module that is called has by this name."""
        return getattr(self.module, name)

    def given(self, position: int, name: str, default: Any = None) -> Any:
        """A setting of the module that is called, or the argument of the function that does the same."""
        return self.argument(position, name, default) if self.module is None else self.setting(name)

    @property
    def owner(self) -> str | None:
        """The name of the first call of the module, where this is another one."""
        first = _AGAIN.sub("", self.name)
        return None if self.node.op != "call_module" or first == self.name else first

    @property
    def inputs(self) -> tuple[str, ...]:
        """The node that the op reads first."""
        return (self.names[self.tensor()],)

    @property
    def in_shape(self) -> Shape:
        """The shape of what the op reads first."""
        return self.observed.shapes[self.tensor()]

    @property
    def shape(self) -> Shape:
        """The shape of the output; () where it is no tensor."""
        return self.observed.shapes.get(self.node, ())

    def made(self, op: str, inputs: tuple[str, ...] | None = None, **fields: Any) -> Node:
        """A node of this call."""
        return Node(self.name, op, self.inputs if inputs is None else inputs, self.shape, **fields)

    def unknown(self, reason: str) -> Node:
        """A node that no record describes."""
        what = type(self.module).__name__ if self.module is not None else function_name(self.node)
        read = [n for n in tensors_read(self.node) if n in self.names]
        inputs = tuple(dict.fromkeys(self.names[n] for n in read))
        held = [t for t in map(self.held, read) if t is not None]
        again = self.owner is not None  # a module holds its weights once
        held += [] if self.module is None or again else list(self.module.parameters())
        attrs = {"what": what, "reason": reason, "weights": sum(p.numel() for p in held if p.dim() > 1)}
        attrs["macs"] = self.observed.macs.get(self.node, 0)
        return Node(self.name, UNKNOWN, inputs, self.shape, attrs=attrs)

    def held(self, node: fx.Node) -> Tensor | None:
        """The value of a node that comes from the model's own tensors alone; None of another."""
        found = self.attribute(str(node.target)) if node.op == "get_attr" else self.observed.constants.get(node)
        return found if isinstance(found, Tensor) else None

    def parameter(self, position: int, name: str) -> Any:
        """A tensor that a function takes, of the model or computed from such alone, as float64; None for none.

        Raises KeyError where the argument depends on the model's input.
        """
        found = self.parameter_tensor(position, name)
        return None if found is None else array_of(found)

    def parameter_tensor(self, position: int, name: str) -> Tensor | None:
        """The same as the tensor that it is."""
        found = self.argument(position, name)
        if found is None:
            return None
        held = self.held(found) if isinstance(found, fx.Node) else None
        if held is None:
            raise KeyError(name)
        return held

    def constant(self, operand: Any) -> Any:
        """An operand as float64, or the number that it is; None where the model computes it from what it is given."""
        if isinstance(operand, Tensor):
            return array_of(operand)
        if not isinstance(operand, fx.Node):
            return operand if isinstance(operand, (int, float)) and not isinstance(operand, bool) else None
        found = self.held(operand)
        return None if found is None else array_of(found)

    @property
    def computes_parameters(self) -> bool:
        """Whether the call reads tensors that are computed from the model's own."""
        return any(node in self.observed.constants for node in self.node.all_input_nodes)


Made = Node | fx.Node | list[Node]
"""Of a call: its node; the node that it stands for where it does nothing; or several nodes, of which the last has its
name. None at all are made of a call that gives several tensors, whose readers make theirs."""
Rule = Callable[[Call], Made]


def function_name(node: fx.Node) -> str:
    """The name of what a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def tensors_read(node: fx.Node) -> list[fx.Node]:
    """The nodes whose values a node needs."""
    return list(node.all_input_nodes)


def array_of(tensor: Tensor) -> Any:
    """A parameter or buffer as float64."""
    return tensor.detach().cpu().double().numpy()


def weight_of(tensor: Tensor) -> Any:
    """A weight as Node has it: in float32, and in the tensor's own memory, unless it is a float64 one."""
    held = tensor.detach().cpu()
    return (held if held.dtype == torch.float64 else held.float()).numpy()


def numbers(value: Any, dims: int) -> tuple[int, ...]:
    """A size as one number for each dimension."""
    values = tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),)
    return values * dims if len(values) == 1 else values


def whole(size: int | Batch) -> int:
    """A size that is not the batch's."""
    assert not isinstance(size, Batch)
    return size
