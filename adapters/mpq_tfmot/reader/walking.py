"""The nodes of a tf_keras model: its layers' calls in the order of execution, those of nested models among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.logic import WHOLE
from mpq_plugins.graph.lookups import EMBEDDING
from mpq_plugins.graph.node import ARGUMENT, FLOAT, UNKNOWN, Batch, Graph, Node, Operand, sample_shape
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.reading import read_only
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.attention import PRODUCTS, layer_of
from mpq_tfmot.reader.call import Call, samples_of
from mpq_tfmot.reader.constants import FOLDED, OUTPUT, Constants
from mpq_tfmot.reader.expanding import of_activation, of_function
from mpq_tfmot.reader.float_functions import row
from mpq_tfmot.reader.functions import is_function, unknown
from mpq_tfmot.reader.hung_masks import HungMasks
from mpq_tfmot.reader.keras_calls import (
    activate,
    calls_of,
    flat,
    is_transparent,
    is_whole,
    kernel_of,
    model_of,
    recaller,
)
from mpq_tfmot.reader.layers import call_again, called_as, evaluator, nodes_of
from mpq_tfmot.reader.more_given import check_masks
from mpq_tfmot.reader.record import Record, is_function_layer, recall, under
from mpq_tfmot.reader.shared_variables import SharedVariables
from mpq_tfmot.reader.written_layers import WRITTEN


class Walk:
    """A walk through the graph of a model and of the models nested in it. unrolled: whether recurrent layers are."""

    def __init__(self, unrolled: bool = False) -> None:
        self.unrolled = unrolled
        self.nodes: dict[str, Node] = {}
        self.floats: dict[str, Any] = {}
        self.again: dict[str, Any] = {}
        self.own_weights: dict[str, list[Any]] = {}
        self.wrappers: dict[str, Any] = {}
        self._calls: dict[str, int] = {}
        self._constants = Constants(self.nodes, self._fresh)
        self._owners: dict[int, tuple[Any, str]] = {}
        self._variables = SharedVariables()

    def read(self, model: Any) -> Graph:
        names = []
        for index, tensor in enumerate(model.inputs):
            name, shape = tensor.node.layer.name, tuple(tensor.shape[1:])
            if any(size is None for size in shape):
                raise ModelError(
                    f"input {name!r} has the open shape {(None, *shape)}, and integers need every size but the batch; "
                    "build the model with keras.Input of whole sizes"
                )
            self.nodes[name] = Node(
                name, ARGUMENT, (), (Batch(), *shape), attrs={"index": index, "dtype": str(tensor.dtype.name)}
            )
            names.append(name)
        outputs = self._walk(model, names, "")
        return Graph(read_only(list(self.nodes.values()), outputs), tuple(outputs), "NHWC")

    def is_call(self, graph: Graph, name: str) -> bool:
        """Whether a float part computes what the call of its name does: a softmax may have taken a mask."""
        was = graph[name].attrs.get("was") if name in graph else None
        return was is None or self.nodes[name].attrs.get("was") is not None

    def made_alone(self, node: Node) -> bool:
        """Whether one call of the model, and no other, makes the node of the graph what it is."""
        now: Node = node.attrs.get("was", node)
        return now.op == FLOAT or (now.op == self.nodes[node.name].op and now.op != AFFINE)

    def _walk(self, model: Any, inputs: Iterable[str], scope: str, training: bool = False) -> list[str]:
        values = {id(tensor): name for tensor, name in zip(model.inputs, inputs, strict=True)}
        masks = HungMasks(self._walk)
        for node in calls_of(model):
            layer = node.layer
            if isinstance(layer, keras.layers.InputLayer):
                continue
            outputs = flat(node.outputs)
            folded = self._constants.folded(node, f"{scope}{layer.name}")
            if folded is not None:
                values.update((id(tensor), name) for tensor, name in zip(outputs, folded, strict=True))
                continue
            node = self._constants.operands(node, values, scope).within(training)
            sources = [values[id(tensor)] for tensor in node.keras_inputs]
            inner = getattr(layer, "layer", layer) if is_transparent(layer) else layer
            masks.passed(node)
            if type(inner) is keras.layers.MultiHeadAttention:
                node = masks.attending(node, values, scope)
            check_masks(inner, node, f"{scope}{inner.name}")
            if type(layer).__name__ == "QuantizeLayer":
                values[id(outputs[0])] = sources[0]
                self.wrappers[sources[0]] = layer
                continue
            if inner is not layer:
                self.wrappers[f"{scope}{inner.name}"] = layer
            within = None if is_function(inner) else model_of(inner, node, self.unrolled)
            if within is not None:
                results = self._walk(within, sources, f"{scope}{inner.name}.", node.training)
                if type(inner) in (keras.layers.Lambda, keras.layers.Activation) and len(results) == 1:
                    results = [self._renamed(results[0], inner, scope)]
            else:
                results = self._visit(layer, inner, node, values, scope, [tuple(o.shape[1:]) for o in outputs])
            if inner is not layer and results == sources:  # the quantizer of an input, on a layer that does nothing
                self.wrappers[sources[0]] = layer
            for tensor, name in zip(outputs, results, strict=True):
                values[id(tensor)] = name
        return [values[id(tensor)] for tensor in model.outputs]

    def _renamed(self, name: str, layer: Any, scope: str) -> str:
        """The last node of what a layer calls, under the layer's own name."""
        own = self._name(layer, scope)
        return (
            self._under(own, name) if name.startswith(f"{scope}{layer.name}.") else name
        )  # it gives what it was given

    def _under(self, own: str, name: str) -> str:
        """The node of a name under another one, if it is made inside of it."""
        shared = self.nodes[name].layer or any(node.layer == name for node in self.nodes.values())
        if name.startswith(f"{own.partition('__call')[0]}.") and not shared:
            self.nodes[own] = replace(self.nodes.pop(name), name=own)
            for held in (self.floats, self.again, self.own_weights):
                if name in held:
                    held[own] = held.pop(name)
            if own in self.again:
                self.again[own] = called_as(self.again[own], own)
            self._owners.update({key: (held, own) for key, (held, of) in self._owners.items() if of == name})
            self._variables.renamed(name, own)
            return own
        return name

    def _visit(
        self, wrapper: Any, layer: Any, node: Record, at: dict[int, str], scope: str, shapes: list[tuple[int, ...]]
    ) -> list[str]:
        """The nodes that give the outputs of a call. at: nodes by the id of the symbol that stands for them."""
        name = self._name(layer, scope)
        _, owner = self._owners.setdefault(id(layer), (layer, name))
        call = self._called(Call(layer, node, name, owner, (), (), shapes[0], kernel_of(wrapper)), node, at)
        function = is_function_layer(layer)
        if len(shapes) > 1 and function:
            moved = self._moved(call, shapes)
            if moved:
                return moved
        made = nodes_of(call)
        if function:
            made = self._variables.sharing(made, node, self.nodes, self._further)
        if function and any(one.op == UNKNOWN for one in made):
            other = self._called(call, self._constants.lifted(node, at, scope), at)
            found = nodes_of(other) if len(other.inputs) > len(call.inputs) else made
            if not any(one.op == UNKNOWN for one in found):
                call, made, node = other, found, other.node
        if function and any(one.op == UNKNOWN and "function" not in one.attrs for one in made):
            opened = self._opened(of_function(node), call.inputs, call.name)
            if opened:
                return opened
        if made and all(is_whole(tensor) for tensor in flat(node.outputs)):
            was = {"was": made[0]} if len(made) == 1 and made[0].op != UNKNOWN else made[-1].attrs
            made = [unknown(name, call.inputs, call.whole(), call.kind, WHOLE, {**was, "reason": WHOLE})]
        for one in made:
            if one.name == f"{name}.activation" and one.op == UNKNOWN and "function" not in one.attrs:
                within = of_activation(layer.activation, call.shape)
                opened = self._opened(within, one.inputs, one.name)
                if opened:
                    return opened
            self.nodes[one.name] = one
            if one.weighted and any(None in shape for shape in call.in_shapes):
                raise ModelError(
                    f"{name} reads a tensor of the open shape {(None, *call.in_shapes[0])}, and integers need every "
                    "size but the batch; cut the model there, or choose elements by numbers"
                )
            if one.name.endswith(f".{PRODUCTS}") and one.op == UNKNOWN:
                products = layer_of(one)
                self.floats[one.name] = lambda *tensors, products=products: products(list(tensors))
                self.again[one.name] = lambda tensors, one=one: layer_of(one)(list(tensors))
                continue
            if one.op == UNKNOWN:
                alone = one.name == name
                whole = function or (alone and (node.call_kwargs or len(node.call_args) > 1))
                self.floats[one.name] = recaller(node) if whole else evaluator(layer) if alone else layer.activation
                if function and one.attrs.get("function") == EMBEDDING:
                    self.floats[one.name] = partial(row, tf.constant(one.attrs["arguments"]["weight"]))
            if one.op == UNKNOWN and one.name == name and layer.weights:
                self.own_weights[name] = layer.get_weights()
            if (
                one.weighted
                or (is_op(one) and (op_of(one).arity == 2 or op_of(one).steps))
                or (is_op(one) and one.name == name and (layer.weights or (function and op_of(one).table)))
                or (one.op in WRITTEN and (function or one.op == "slice" or len(made) > 1))
            ):
                continue
            if one.name == name and type(layer).__name__ != "Activation":
                self.again[name] = (
                    partial(recall, under(node, name)) if function else partial(call_again, layer, name, node)
                )
            elif hasattr(layer, "activation"):
                self.again[one.name] = partial(activate, layer.activation, one.name)
        if len(shapes) == 1:
            return [made[-1].name if made else call.inputs[0]]
        parts = [self._part(made[-1], index, shape) for index, shape in enumerate(shapes)]
        attends = call.kind == "MultiHeadAttention" and made[-1].op != UNKNOWN
        return [made[-1].name, *parts[1:]] if attends else parts

    def _opened(self, model: Any, inputs: Iterable[str], own: str) -> list[str]:
        """The nodes of the functions that a function calls, as those of a layer of the name ``own``; none where one of
        them has no form."""
        if model is None:
            return []
        before, held = dict(self.nodes), [dict(part) for part in (self.floats, self.again, self.own_weights)]
        results = self._walk(model, inputs, f"{own}.")
        made = [node for name, node in self.nodes.items() if name not in before]
        if any(
            node.op == UNKNOWN and node.attrs.get("what") not in (FOLDED, OUTPUT) and "function" not in node.attrs
            for node in made
        ):
            self.nodes.clear()
            self.nodes.update(before)
            self.floats, self.again, self.own_weights = held
            return []
        return [self._under(own, results[0])] if len(results) == 1 else results

    def _called(self, call: Call, node: Record, at: dict[int, str]) -> Call:
        """The call with these operands."""
        inputs = tuple(at[id(tensor)] for tensor in node.keras_inputs)
        shapes = [self.nodes[name].shape for name in inputs]
        layer = node.layer if call.layer is call.node.layer else call.layer
        in_samples = tuple(shape[0] if isinstance(shape[0], Batch) else Batch() for shape in shapes)
        found = replace(call, layer=layer, node=node, inputs=inputs, in_samples=in_samples)
        found = replace(found, in_shapes=[sample_shape(shape[1:]) for shape in shapes])
        return replace(found, samples=samples_of(found))

    def _moved(self, call: Call, shapes: list[tuple[int, ...]]) -> list[str]:
        """The nodes of a function that gives several tensors by moving elements; none for another function."""
        each = [
            nodes_of(replace(call, name=f"{call.name}.part{index}", shape=shape, index=index))
            for index, shape in enumerate(shapes)
        ]
        if any(not made or any(one.op == UNKNOWN for one in made) for made in each):
            return []
        self.nodes |= {one.name: one for made in each for one in made}
        return [made[-1].name for made in each]

    def _part(self, whole: Node, index: int, shape: tuple[int, ...]) -> str:
        """One of the outputs of a layer that has several."""
        attrs: dict[str, Any] = {"what": OUTPUT, "reason": f"one of several outputs of {whole.attrs.get('what')}"}
        if whole.attrs.get("function") == "top_k":
            attrs |= {"function": "item", "arguments": {"input": Operand(0), "index": index}}
        part = Node(f"{whole.name}.output{index}", UNKNOWN, (whole.name,), (whole.shape[0], *shape), attrs=attrs)
        self.nodes[part.name] = part
        self.floats[part.name] = lambda outputs: outputs[index]
        self.again[part.name] = lambda outputs: outputs[0][index]
        return part.name

    def _name(self, layer: Any, scope: str) -> str:
        """Of a layer with weights that was called elsewhere, a further one of the name that it got there."""
        held, own = self._owners.get(id(layer), (None, ""))
        return self._fresh(own if held is not None and layer.weights else f"{scope}{layer.name}")

    def _further(self, name: str) -> str:
        """Of one more call of the layer that a node of this name stands for."""
        self._calls.setdefault(name, 1)
        return self._fresh(name)

    def _fresh(self, name: str) -> str:
        count = self._calls.get(name, 0)
        self._calls[name] = count + 1
        if not count:
            return name
        return self._fresh(f"{name}__call{count}")
