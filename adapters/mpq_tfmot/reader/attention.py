"""Keras' attention layers: MultiHeadAttention as dense layers around products of activations, Attention as products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Node, Operand, Shape
from mpq_tfmot.reader.attention_layer import HIDES, HeadsAttention
from mpq_tfmot.reader.call import Call, array_of
from mpq_tfmot.reader.functions import unknown
from mpq_tfmot.reader.record import is_symbol

PRODUCTS = "products"
"""What the part between the dense layers is called behind the layer's name."""


def of_attention(call: Call) -> list[Node] | None:
    """The nodes of a call of MultiHeadAttention that gives what it attends to; None for another. Shares that it returns
    too are for others to refuse."""
    layer, node = call.layer, call.node
    given = {**dict(zip(("query", "value", "key", "attention_mask"), node.call_args, strict=False)), **node.call_kwargs}
    at = {
        id(t): Part(name, call.whole(shape))
        for t, name, shape in zip(node.keras_inputs, call.inputs, call.in_shapes, strict=True)
    }
    key = given["value"] if given.get("key") is None else given["key"]
    read = [at.get(id(tensor)) for tensor in (given["query"], key, given["value"])]
    rank = len(call.in_shapes[0]) + 1
    alike = all(part is not None and len(part.shape) == rank for part in read)
    if not alike or layer._output_dense.kernel.shape.rank != 3 or len(layer._attention_axes) != rank - 2:
        return None
    made: list[Node] = []
    sources = [_sequences(made, f"{call.name}.{word}", part) for word, part in zip(("q", "k", "v"), read, strict=True)]  # type: ignore[arg-type]
    steps = [int(source.shape[1]) for source in sources]  # type: ignore[arg-type]
    computed = _computed(made, call, at.get(id(given.get("attention_mask"))))
    seen = _seen({} if computed else given, steps)
    if isinstance(seen, str) or (computed and len(computed[0].shape) != 4):
        return None
    dense = (("query", layer._query_dense), ("key", layer._key_dense), ("value", layer._value_dense))
    parts = [_linear(call, word, source, own) for (word, own), source in zip(dense, sources, strict=True)]
    units = [int(part.shape[-1]) for part in parts]  # type: ignore[arg-type]
    described = of_products(HeadsAttention(layer._num_heads, 1 / math.sqrt(layer._key_dim), seen), bool(computed))
    described["macs"] = steps[0] * steps[1] * (units[1] + units[2])
    shape = call.whole((steps[0], units[2]))
    reads = (*(part.name for part in parts), *(mask.name for mask in computed))
    products = unknown(f"{call.name}.{PRODUCTS}", reads, shape, "attention", described=described)
    kernel = array_of(layer._output_dense.kernel)
    weight = kernel.reshape(-1, kernel.shape[-1]).T
    bias = array_of(layer._output_dense.bias) if layer._output_dense.bias is not None else None
    out = (*shape[:-1], len(weight))
    plain = out == call.whole()
    last = Node(call.name if plain else f"{call.name}.out", "linear", (products.name,), out, weight, bias)
    made += [*parts, products, last]
    return made if plain else [*made, Node(call.name, "reshape", (last.name,), call.whole())]


def _sequences(made: list[Node], name: str, x: Part) -> Part:
    """A tensor as [samples, steps, features]."""
    if len(x.shape) == 3:
        return x
    steps = math.prod(size_of(x, axis) for axis in range(1, len(x.shape) - 1))
    made.append(Node(name, "reshape", (x.name,), (x.shape[0], steps, x.shape[-1])))
    return Part(name, made[-1].shape)


def _computed(made: list[Node], call: Call, mask: Part | None) -> list[Part]:
    """The mask that the model computes, with an axis for the heads; none of a constant one.

    A causal one is part of it (``hung_masks``).
    """
    if mask is None:
        return []
    if len(mask.shape) == 3:
        made.append(Node(f"{call.name}.mask", "reshape", (mask.name,), (mask.shape[0], 1, *mask.shape[1:])))
        mask = Part(made[-1].name, made[-1].shape)
    return [mask]


def _seen(given: dict[str, Any], steps: list[int]) -> Any:
    """Which elements of the keys each of the queries sees; None for all; a reason where it is no constant, or where
    one sees none."""
    mask, seen = given.get("attention_mask"), None
    if is_symbol(mask):
        return "a mask that is computed from the model's inputs"
    if mask is not None:
        seen = np.asarray(mask).astype(bool)
        while seen.ndim > 2 and len(seen) == 1:
            seen = seen[0]
        if seen.ndim != 2:
            return "a mask for each sample or head"
        seen = np.broadcast_to(seen, steps[:2])
    if given.get("use_causal_mask"):
        causal = np.tril(np.ones(steps[:2], bool))
        seen = causal if seen is None else seen & causal
    if seen is not None and not np.all(seen.any(-1)):
        return "a query that sees nothing"
    return None if seen is None or np.all(seen) else seen


def of_products(layer: HeadsAttention, masked: bool) -> dict[str, Any]:
    """The attrs "function" and "arguments" of what lies between. masked: whether it reads a mask."""
    arguments = {"input": Operand(0), "key": Operand(1), "value": Operand(2), "heads": layer.heads}
    arguments |= {"batch_first": True, "scale": layer.scale} | _masked(layer.seen)
    if masked:
        arguments |= {"mask": Operand(3), "shows": True, "hides": HIDES}
    return {"function": "heads_attention", "arguments": arguments}


def _masked(seen: Any) -> dict[str, Any]:
    """What is added to the products where not all is seen."""
    return {} if seen is None else {"mask": np.where(seen, 0.0, -np.inf)}


def layer_of(node: Node) -> HeadsAttention:
    """A layer that computes such a node."""
    a = node.attrs["arguments"]
    seen = np.isfinite(a["mask"]) if "mask" in a and "shows" not in a else None
    return HeadsAttention(a["heads"], a["scale"], seen, name=node.name)


def of_dot_attention(call: Call) -> dict[str, Any]:
    """The same of keras.layers.Attention by dot products, on [query, value] or [query, value, key]; none of another."""
    layer, given, shapes = call.layer, call.node.call_kwargs, call.in_shapes
    count = len(call.inputs)
    more = {key for key, value in given.items() if key not in ("training", "use_causal_mask") and value is not None}
    returns = given.get("return_attention_scores")
    if count not in (2, 3) or layer.score_mode != "dot" or (more and (more != {"return_attention_scores"} or returns)):
        return {}
    if any(len(shape) != 2 for shape in shapes) or len(call.node.call_args) != 1:
        return {}
    seen = _seen({"use_causal_mask": given.get("use_causal_mask")}, [shapes[0][0], shapes[1][0]])
    scale = float(np.asarray(layer.scale)) if layer.use_scale else 1.0
    tensors = {"input": Operand(0), "key": Operand(count - 1), "value": Operand(1)}
    return {"function": "attention", "arguments": {**tensors, "scale": scale, **_masked(seen)}}


def _linear(call: Call, word: str, source: Part, dense: Any) -> Node:
    kernel = array_of(dense.kernel)
    weight = kernel.reshape(kernel.shape[0], -1).T
    bias = None if dense.bias is None else array_of(dense.bias).reshape(-1)
    shape: Shape = (*source.shape[:-1], len(weight))
    return Node(f"{call.name}.{word}", "linear", (source.name,), shape, weight, bias)
