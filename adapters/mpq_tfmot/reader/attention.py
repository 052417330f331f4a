"""Keras' MultiHeadAttention as dense layers around a float part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node, Operand
from mpq_tfmot.reader.attention_layer import HeadsAttention
from mpq_tfmot.reader.call import Call, array_of
from mpq_tfmot.reader.functions import unknown

PRODUCTS = "products"
"""What the part between the dense layers is called behind the layer's name."""


def of_attention(call: Call) -> list[Node] | None:
    """The nodes of a call on sequences without masks but the causal one; None for another."""
    layer, node = call.layer, call.node
    given = {**dict(zip(("query", "value", "key"), node.call_args, strict=False)), **node.call_kwargs}
    causal = bool(given.get("use_causal_mask"))
    plain = given.get("attention_mask") is None and not given.get("return_attention_scores")
    if not plain or any(len(shape) != 2 for shape in call.in_shapes):
        return None
    at = {id(t): (name, shape) for t, name, shape in zip(node.keras_inputs, call.inputs, call.in_shapes, strict=True)}
    key = given.get("key")
    sources = [at[id(given["query"])], at[id(given["value"] if key is None else key)], at[id(given["value"])]]
    dense = (("query", layer._query_dense), ("key", layer._key_dense), ("value", layer._value_dense))
    parts = [_linear(call, word, *source, made) for (word, made), source in zip(dense, sources, strict=True)]
    steps = [int(source[1][0]) for source in sources]
    units = [int(part.shape[-1]) for part in parts]  # type: ignore[arg-type]
    described = of_products(HeadsAttention(layer._num_heads, 1 / math.sqrt(layer._key_dim), causal), steps)
    described["macs"] = steps[0] * steps[1] * (units[1] + units[2])
    inputs = tuple(part.name for part in parts)
    products = unknown(
        f"{call.name}.{PRODUCTS}", inputs, call.whole((steps[0], units[2])), "attention", described=described
    )
    kernel = array_of(layer._output_dense.kernel)
    weight = kernel.reshape(-1, kernel.shape[-1]).T
    bias = array_of(layer._output_dense.bias) if layer._output_dense.bias is not None else None
    return [*parts, products, Node(call.name, "linear", (products.name,), call.whole(), weight, bias)]


def of_products(layer: HeadsAttention, steps: list[int]) -> dict[str, Any]:
    """The attrs "function" and "arguments" of what lies between; steps: of queries and keys."""
    mask = np.triu(np.full(steps[:2], -np.inf), 1) if layer.causal else None
    arguments = {"input": Operand(0), "key": Operand(1), "value": Operand(2), "heads": layer.heads}
    arguments |= {"batch_first": True, "scale": layer.scale} | ({} if mask is None else {"mask": mask})
    return {"function": "heads_attention", "arguments": arguments}


def layer_of(node: Node) -> HeadsAttention:
    """A layer that computes such a node."""
    a = node.attrs["arguments"]
    return HeadsAttention(a["heads"], a["scale"], "mask" in a, name=node.name)


def _linear(call: Call, word: str, name: str, shape: tuple[int, ...], dense: Any) -> Node:
    kernel = array_of(dense.kernel)
    weight = kernel.reshape(kernel.shape[0], -1).T
    bias = None if dense.bias is None else array_of(dense.bias).reshape(-1)
    return Node(f"{call.name}.{word}", "linear", (name,), call.whole((shape[0], len(weight))), weight, bias)
