"""A LiteRT flatbuffer, written tensor by tensor and op by op through the generated schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

from mpq_plugins.grid import Grid
from mpq_tfmot.arithmetic import zero_point_of

VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 3,
    "FULLY_CONNECTED": 4,
    "ADD": 2,
    "CONCATENATION": 2,
    "MAX_POOL_2D": 2,
    "AVERAGE_POOL_2D": 2,
    "MEAN": 2,
    "PAD": 2,
    "MINIMUM": 2,
    "MAXIMUM": 2,
    "DEQUANTIZE": 2,
    "GATHER": 2,
    "TRANSPOSE": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
}
"""The version of each builtin op that takes int8; the rest is version 1."""

TYPES = {
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
}


class FlatbufferWriter:
    """Collects tensors and ops of one subgraph; the batch axis stays open."""

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}

    def variable(self, name: str, shape: Sequence[int], kind: str, grid: Grid | None = None) -> int:
        """A tensor that an op writes; shape is that of one sample."""
        tensor = self._tensor(name, (1, *shape), kind, 0)
        tensor.shapeSignature = [-1, *shape]
        if grid is not None:
            tensor.quantization = quantization([grid.steps[0]], zero_point_of(grid))
        return self._append(tensor)

    def plain(self, name: str, shape: Sequence[int], kind: str) -> int:
        """A tensor that an op writes and that has no batch axis."""
        return self._append(self._tensor(name, shape, kind, 0))

    def constant(
        self,
        name: str,
        values: NDArray[Any],
        kind: str,
        steps: Sequence[float] | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """A tensor of given values (codes, where steps are given)."""
        buffer = schema.BufferT()
        raw = packed(values) if kind == "int4" else np.ascontiguousarray(values, dtype=kind)
        buffer.data = np.frombuffer(raw.tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        tensor = self._tensor(name, values.shape, kind, len(self._buffers) - 1)
        if steps is not None:
            tensor.quantization = quantization(steps, zero_point, axis)
        return self._append(tensor)

    def op(self, code: str, inputs: Sequence[int], output: int, **options: Any) -> int:
        """Append an op; options are the fields of its options table. Returns the output."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), [output]
        table = _OPTIONS.get(code)
        if table is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        return output

    def finish(self, inputs: Sequence[int], outputs: Sequence[int], description: str) -> bytes:
        """The flatbuffer as bytes."""
        import flatbuffers

        graph = schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = 3
        model.description = description
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(index) for index in inputs]
        signature.outputs = [self._named(index) for index in outputs]
        model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _named(self, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self._tensors[index].name, index
        return entry

    def _tensor(self, name: str, shape: Sequence[int], kind: str, buffer: int) -> Any:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), TYPES[kind], buffer
        return tensor

    def _append(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def quantization(steps: Sequence[float], zero_point: int = 0, axis: int = 0) -> Any:
    """The quantization table of a tensor: one step, or one per channel along axis."""
    table = schema.QuantizationParametersT()
    table.scale = [float(step) for step in steps]
    table.zeroPoint = [zero_point] * len(table.scale)
    table.quantizedDimension = axis
    return table


def packed(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes of -8 .. 7, two to a byte, the first in the low half.

    >>> packed(np.array([1, -1, 2]))
    array([241,   2], dtype=uint8)
    """
    halves = np.ravel(codes).astype(np.int8).view(np.uint8) & 15
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    return halves[::2] | (halves[1::2] << 4)


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PAD": "PadOptions",
    "RESHAPE": "ReshapeOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "SOFTMAX": "SoftmaxOptions",
    "GATHER": "GatherOptions",
    "CAST": "CastOptions",
    "TRANSPOSE": "TransposeOptions",
    "SHAPE": "ShapeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
}


def _operator_code(name: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = VERSIONS.get(name, 1)
    return code
