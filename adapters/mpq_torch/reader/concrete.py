"""A tracer that runs the model on an example beside tracing it, so that what does not depend on data is known.

Sizes and plain arguments can be asked (``if x.shape[2] > 3``, ``for i in range(h)``), results of several tensors are
tuples, and what asks for the data of a tensor is refused with the user's own line.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import Takes, is_container, parts_of, rebuilt_row
from mpq_torch.modules.depthwise import SlicedDepthwise
from mpq_torch.modules.padded import PaddedConvolution
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.modules.written import LEAVES
from mpq_torch.reader.autograd_functions import forwards_traced
from mpq_torch.reader.composed_calls import composed, is_opened
from mpq_torch.reader.hooks import is_hooked, take_off
from mpq_torch.reader.proxies import Concrete
from mpq_torch.reader.shape_values import asks
from mpq_torch.reader.sizes_in_tensors import is_number, methods_of, tensors_of
from mpq_torch.reader.spelled import packages_functions, packages_modules
from mpq_torch.reader.user_code import NOT_THE_USERS, line_of

FORMS = (*LEAVES, SlicedDepthwise, PaddedConvolution, SubpixelConvTranspose)
"""Modules that this package writes."""
_MADE = ("new_zeros", "new_ones", "new_full")
HOOKS_SUFFIX = "__hooks"


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one call of the graph: torch's own layers, and those that this package writes."""
    if isinstance(module, (*FORMS, *packages_modules())):
        return True
    own = module.__module__.startswith(("torch.nn", "torch.ao.nn"))
    return own and not isinstance(module, nn.Sequential) and not is_opened(module)


def _is_wrapped(target: Any) -> bool:
    """Whether a function is one that the user's code, or a zoo's, has fx.wrap keep whole."""
    own = inspect.isfunction(target) and target.__module__.partition(".")[0] not in ("torch", "mpq_torch")
    return own and target not in packages_functions()


def _item(proxy: fx.Proxy, key: Any) -> Any:
    """``proxy[key]``: torch gives proxies their operators at run time."""
    return cast(Any, proxy)[key]


def _fields(returned: Any) -> Callable[..., tuple[Any, ...]]:
    """A named tuple with the fields of one of torch's return types, which take tensors alone."""
    return namedtuple(returned.__name__, returned.__match_args__)


class ConcreteTracer(fx.Tracer):
    """takes: the model's arguments. example: what they are.

    decided: nodes whose values Python code has asked for, and what these were computed from.
    values: what nodes give on the example; a node that did not run, or that reads one that did not, is not among them.
    """

    def __init__(self, takes: Takes, example: Sequence[Any]) -> None:
        super().__init__(autowrap_functions=packages_functions())
        for room in {function.__module__ for function in packages_functions()}:
            self._autowrap_search.append(sys.modules[room])
        self.values: dict[fx.Node, Any] = {}
        self._takes = takes
        self._given = dict(zip(takes.names_of(len(example)), example, strict=False))
        self.decided: set[fx.Node] = set()
        self._plain: set[fx.Node] = set()
        self._forwards: dict[nn.Module, Callable[..., Any]] = {}
        self._running = False
        self._opening = 0

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The model's arguments: what is given as proxies, as it lies in dicts and lists; the rest as its default is.

        Arguments that are not given get no node (but in a model that torch.fx wrote, which computes with them).
        """
        written = isinstance(self.root, fx.GraphModule)
        names = [*self._given, *(self._takes.names[len(self._given) :] if written else ())]
        defaults = self._takes.in_graphs(names)
        batch = [self._argument(name, defaults[name]) for name in names]
        args, kwargs = self._takes.split(batch)
        return lambda root: root_fn(root, *args, **kwargs), [self.root]

    def _argument(self, name: str, default: tuple[Any, ...]) -> Any:
        proxy = self.create_proxy("placeholder", name, default, {})
        return self._parts(proxy, self.values.get(proxy.node))

    def _parts(self, proxy: fx.Proxy, value: Any) -> Any:
        """Dicts, lists and tuples of proxies; what is neither a tensor nor a number as it is."""
        if not is_container(value):
            return value if value is None or isinstance(value, (bool, str)) else proxy
        keys = [key for key, _ in parts_of(value)]
        parts = iter([self._parts(_item(proxy, key), part) for key, part in parts_of(value)])
        return {key: next(parts) for key in keys} if isinstance(value, dict) else rebuilt_row(value, parts)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Concrete(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any) -> Any:
        """The proxy of a new node; of a tuple or list of results a tuple or list of proxies.

        (Not in a model that torch.fx wrote: there no code asks, and modules take such results as they are.)
        """
        if kind in ("call_function", "call_method"):
            parts = composed(target, args, kwargs)
            if parts is not NotImplemented:
                return parts
        if kind == "call_function" and _is_wrapped(target):
            opened = self._opened(target, args, kwargs)
            if opened is not NotImplemented:
                return opened
        if kind == "call_method" and target == "set_" and len(args) == 1:
            return args[0]  # emptied for its memory
        if target is F.pad:
            args = (*args[:1], *fx.node.map_aggregate(args[1:], self._whole))
            kwargs = fx.node.map_aggregate(kwargs, self._whole)
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **named)
        self._run(proxy.node)
        value: Any = self.values.get(proxy.node)
        if self._opening and kind == "call_method" and target in _MADE and isinstance(value, Tensor):
            self.graph.erase_node(proxy.node)
            return self.values.pop(proxy.node)
        split = kind != "placeholder" and not isinstance(self.root, fx.GraphModule)
        if split and type(value) in (tuple, list):
            return type(value)(_item(proxy, index) for index in range(len(value)))
        if split and type(value).__module__ == torch.return_types.__name__:
            # at once: torch.fx would record a field where it is first read, in a module that it is only given to
            return _fields(type(value))(*(_item(proxy, index) for index in range(len(value))))
        return proxy

    def _opened(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What a function that fx.wrap keeps whole gives, traced into, so that its layers and moves are seen.

        NotImplemented where it cannot be.

        Tensors that it makes of sizes alone, and fills element by element, are constants.
        """
        before = set(self.graph.nodes)
        self._opening += 1
        try:
            return target(*args, **kwargs)
        except Exception:  # it is left whole, as its author wanted it
            for node in reversed([n for n in self.graph.nodes if n not in before and n.op != "get_attr"]):
                self.graph.erase_node(node)
                self.values.pop(node, None)
            return NotImplemented
        finally:
            self._opening -= 1

    def create_node(self, kind: str, *rest: Any, **named: Any) -> fx.Node:
        """As torch.fx does it, which makes nodes of buffers, and of tensors that forward() makes, without a proxy."""
        node = super().create_node(kind, *rest, **named)
        if kind == "get_attr":
            self._run(node)
        return node

    def create_arg(self, a: Any) -> Any:
        """As torch.fx does it, which would make plain dicts of ordered ones and of the dataclasses that are dicts."""
        if isinstance(a, OrderedDict) and dataclasses.is_dataclass(a):
            return self.create_node("call_function", type(a), (), {k: self.create_arg(v) for k, v in a.items()})
        if type(a) is OrderedDict:
            pairs = [(k, self.create_arg(v)) for k, v in a.items()]
            return self.create_node("call_function", OrderedDict, (pairs,), {})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """As torch.fx does it; hooks of a module that is a leaf are traced around its call, in a scope of their own.

        (Not in the module's: what converts the module replaces all that is inside.)
        """
        if self._running:
            return forward(*args, **kwargs)
        if m not in (self.submodule_paths or {}):  # made in forward(): part of the code
            if any(True for _ in m.parameters()):
                raise ModelError(f"{self.where()} makes a layer whose weights are others at every call")
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        if not (is_hooked(m) and self.is_leaf_module(m, path)):
            return super().call_module(m, forward, args, kwargs)
        own = self._forwards.setdefault(m, m.forward)
        self.module_stack[f"{path}@hooks"] = (path + HOOKS_SUFFIX, type(m))
        m.forward = lambda *a, **k: super(ConcreteTracer, self).call_module(m, forward, a, k)
        try:
            return m._call_impl(*args, **kwargs)
        finally:
            m.forward = own
            self.module_stack.popitem(last=True)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """An attribute of a module: a proxy of a parameter, unless a node is being run."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(self.plain(obj, "decides by"))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        known = self.values.get(obj.node)
        if isinstance(known, (tuple, list)):
            return iter([_item(obj, index) for index in range(len(known))])
        raise ModelError(f"{self.where()} loops over the data of a tensor, which tracing cannot follow")

    def plain(self, obj: fx.Proxy, verb: str) -> Any:
        """What a node gives that depends on no data. Raises ModelError, with the user's line, for one that does."""
        if obj.node in self._plain:
            self._decide(obj.node)
            return self.values[obj.node]
        raise ModelError(f"{self.where()} {verb} the data of a tensor, which tracing cannot follow")

    def _decide(self, node: fx.Node) -> None:
        """Remember what a value that Python code has asked for was computed from."""
        left = [node]
        while left:
            node = left.pop()
            if node not in self.decided:
                self.decided.add(node)
                left += node.all_input_nodes

    def trace(self, *args: Any, **named: Any) -> fx.Graph:
        """As torch.fx does it, which marks what an opened function gave as a call of that function."""
        with forwards_traced(), tensors_of(self._number), methods_of(partial(self.create_proxy, "call_method")):
            graph = super().trace(*args, **named)
        for node in graph.nodes:
            if node.meta.get("is_wrapped") and not (inspect.isfunction(node.target) and node.op == "call_function"):
                del node.meta["is_wrapped"]
        return graph

    def _number(self, value: Any) -> Any:
        known = isinstance(value, fx.Proxy) and value.node in self._plain
        return self.plain(value, "computes with") if known else value

    def _whole(self, value: Any) -> Any:
        """The whole number that a tensor of one element is, where it depends on no data."""
        known = self._number(value)
        return int(known) if is_number(known) and not known.is_floating_point() else value

    def take_hooks_off(self) -> None:
        """Take off the hooks of leaves, which are nodes of the graph now."""
        for module in self._forwards:
            take_off(module)

    def _run(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            name = str(node.target)
            if name in self._given or node.args:
                self.values[node] = self._given[name] if name in self._given else node.args[0]
        elif all(n in self.values for n in node.all_input_nodes):
            with self._really(), torch.no_grad():
                try:
                    self.values[node] = self._computed(node)
                except Exception:  # what runs into it says so: the run on two batch sizes, or who asks for a value
                    return
        if node in self.values and self._is_plain(node, self.values[node]):
            self._plain.add(node)

    def _is_plain(self, node: fx.Node, value: Any) -> bool:
        """Whether a value depends on no data: sizes, whole numbers that the model holds, what is computed of them."""
        inputs = node.all_input_nodes
        if node.op == "get_attr":
            return is_number(value) and not value.is_floating_point()
        if asks(node) or not inputs:
            return not isinstance(value, Tensor)
        known = all(n in self._plain for n in inputs) and node.op != "call_module"
        return known and (is_number(value) or not isinstance(value, Tensor))

    def _computed(self, node: fx.Node) -> Any:
        args = fx.node.map_arg(node.args, lambda n: self.values[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: self.values[n])
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.root)
        if node.op == "call_module":
            module = self.root.get_submodule(str(node.target))
            return self._forwards.get(module, module.forward)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        function: Any = node.target
        return function(*args, **kwargs)

    @contextmanager
    def _really(self) -> Iterator[None]:
        before, self._running = self._running, True
        try:
            yield
        finally:
            self._running = before

    def where(self) -> str:
        """The user's line that is being traced."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename.startswith(NOT_THE_USERS):
            frame = frame.f_back
        return "the model" if frame is None else line_of(frame.f_code.co_filename, frame.f_lineno)
