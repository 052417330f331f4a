"""Places and order of elements behind the last weight, in float32 kernels of LiteRT: argmax, top k, running sums.

Places are floats, as all outputs of a file are. Equal elements come in the order of their places, as in TensorFlow;
torch's topk says nothing of them, and is refused, as are places of what float kernels compute to other last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpq_plugins.exporters.litert.emission import FLOAT_SUFFIX, Emission
from mpq_plugins.graph.node import FLOAT, Batch, Node, Shape

Given = Mapping[str, Any]
EXACT = ("reshape", "transpose", "clamp")
"""What moves elements, or clips them, and so computes the same everywhere."""


def _variable(emission: Emission, node: Node, suffix: str, shape: Shape, kind: str = "float32") -> int:
    sizes = tuple(size if isinstance(size, Batch) else int(size) for size in shape)
    return emission.writer.variable(f"{node.name}{suffix}", sizes, kind)


def _as_floats(emission: Emission, node: Node, whole: int, suffix: str, shape: Shape) -> int:
    kinds = emission.writer.schema.TensorType
    output = _variable(emission, node, suffix, shape)
    return emission.writer.op("CAST", [whole], output, inDataType=kinds.INT32, outDataType=kinds.FLOAT32)


def _place(code: str) -> Callable[[Emission, Node, int, Given], int]:
    def emit(emission: Emission, node: Node, x: int, given: Given) -> int:
        source = emission.quantized.graph[node.inputs[0]].shape
        axis = int(given["axis"]) % len(source)
        shape = tuple(size for at, size in enumerate(source) if at != axis)
        inputs = [x, emission.numbers(f"{node.name}/axis", axis)]
        place = _variable(emission, node, "/place", shape, "int32")
        place = emission.writer.op(code, inputs, place, outputType=emission.writer.schema.TensorType.INT32)
        if shape != node.shape:
            whole = _variable(emission, node, "/kept", node.shape, "int32")
            place = emission.reshaped(place, node.shape, whole, f"{node.name}/kept")
        return _as_floats(emission, node, place, FLOAT_SUFFIX, node.shape)

    return emit


def _ordered(emission: Emission, node: Node, x: int, given: Given) -> int:
    """The largest elements along the last axis, and their places: what reads a part of both finds it by its name."""
    source = emission.quantized.graph[node.inputs[0]].shape
    shape = (*source[:-1], int(given["count"]))
    values = _variable(emission, node, FLOAT_SUFFIX, shape)
    places = _variable(emission, node, "/places", shape, "int32")
    emission.writer.op("TOPK_V2", [x, emission.numbers(f"{node.name}/count", int(given["count"]))], values, places)
    emission.parts[node.name] = (values, _as_floats(emission, node, places, "/indices", shape))
    return values


def _running(emission: Emission, node: Node, x: int, given: Given) -> int:
    output = _variable(emission, node, FLOAT_SUFFIX, node.shape)
    return emission.writer.op("CUMSUM", [x, emission.numbers(f"{node.name}/axis", int(given["axis"]))], output)


def _one_hot(emission: Emission, node: Node, x: int, given: Given) -> int:
    writer = emission.writer
    source = emission.quantized.graph[node.inputs[0]].shape
    kinds, whole = writer.schema.TensorType, _variable(emission, node, "/whole", source, "int32")
    place = writer.op("CAST", [x], whole, inDataType=kinds.FLOAT32, outDataType=kinds.INT32)
    ends = [writer.constant(f"{node.name}/{word}", value, "float32") for word, value in (("on", 1.0), ("off", 0.0))]
    inputs = [place, emission.numbers(f"{node.name}/count", int(given["count"])), *ends]
    return writer.op("ONE_HOT", inputs, _variable(emission, node, FLOAT_SUFFIX, node.shape), axis=-1)


def _part(emission: Emission, node: Node, x: int, given: Given) -> int:
    return emission.parts[node.inputs[0]][int(given["index"])]


def _of_codes(emission: Emission, node: Node, given: Given) -> bool:
    """Whether it reads values of a grid, moved or clipped at most."""
    source = emission.quantized.graph[node.inputs[0]]
    was = source.attrs.get("was")
    return source.op != FLOAT or (was is not None and was.op in EXACT and _of_codes(emission, source, given))


def _of_last_axis(emission: Emission, node: Node, given: Given) -> bool:
    rank = len(emission.quantized.graph[node.inputs[0]].shape)
    last = int(given["axis"]) % rank == rank - 1
    return last and bool(given.get("largest", True)) and _of_codes(emission, node, given)


def _always(emission: Emission, node: Node, given: Given) -> bool:
    return True


FORMS: Mapping[str, tuple[Callable[[Emission, Node, int, Given], int], frozenset[str], Callable[..., bool]]] = {
    "argmax": (_place("ARG_MAX"), frozenset({"axis", "keepdims"}), _of_codes),
    "argmin": (_place("ARG_MIN"), frozenset({"axis", "keepdims"}), _of_codes),
    "cumsum": (_running, frozenset({"axis"}), _of_codes),
    "item": (_part, frozenset({"index"}), lambda emission, node, given: node.inputs[0] in emission.parts),
    "one_hot": (_one_hot, frozenset({"count"}), _always),
    "top_k": (_ordered, frozenset({"axis", "count", "largest"}), _of_last_axis),
}
"""By the word of the function: what writes it, the arguments that it knows, and whether it does with these."""
