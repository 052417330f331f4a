"""A LiteRT flatbuffer, written tensor by tensor and op by op through the generated schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.litert.requirements import require, schema
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.node import Batch, Shape
from mpq_plugins.grid import Grid

IDENTIFIER = b"TFL3"
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 3,
    "FULLY_CONNECTED": 4,
    "ADD": 2,
    "MUL": 2,
    "CONCATENATION": 2,
    "MAX_POOL_2D": 2,
    "AVERAGE_POOL_2D": 2,
    "MEAN": 2,
    "PAD": 2,
    "PADV2": 2,
    "MINIMUM": 2,
    "MAXIMUM": 2,
    "DEQUANTIZE": 2,
    "GATHER": 2,
    "TRANSPOSE": 2,
    "STRIDED_SLICE": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
}
"""The version of each builtin op that takes int8; the rest is version 1."""
NIBBLE_VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 10}
"""The version of those that take weights of int4; the reference kernels register no later one of a depthwise."""
KEEPING_AXES = 5
"""The version of FULLY_CONNECTED that keeps the number of axes of its input."""
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "CUMSUM": "CumsumOptions",
    "ONE_HOT": "OneHotOptions",
    "SOFTMAX": "SoftmaxOptions",
    "TOPK_V2": "TopKV2Options",
    "GATHER": "GatherOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "FLOOR_DIV": "FloorDivOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "REDUCE_MAX": "ReducerOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "CAST": "CastOptions",
    "TRANSPOSE": "TransposeOptions",
    "SHAPE": "ShapeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
}
"""The options table of each builtin op that has one."""
TYPES = {"int4": "INT4", "int8": "INT8", "int32": "INT32", "bool": "BOOL", "float32": "FLOAT32"}


class FlatbufferWriter:
    """Collects tensors and ops of one subgraph; the batch stays open."""

    def __init__(self) -> None:
        self.schema = schema()
        self._buffers = [self.schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        self._versions: dict[str, int] = {}

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self._tensors)

    def variable(self, name: str, shape: Shape, kind: str, grid: Grid | None = None) -> int:
        """A tensor that an op writes, of codes where a grid is given."""
        sizes = [size.times if isinstance(size, Batch) else size for size in shape]
        tensor = self._tensor(name, sizes, kind, 0)
        if any(isinstance(size, Batch) for size in shape):
            tensor.shapeSignature = [-1 if isinstance(size, Batch) else size for size in shape]
        if grid is not None:
            tensor.quantization = self._quantization([grid.steps[0]], int8_zero_point(grid))
        return self._append(tensor)

    def constant(
        self,
        name: str,
        values: ArrayLike,
        kind: str,
        steps: Sequence[float] | NDArray[Any] | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """A tensor of given values (codes, where steps are given; several steps lie along ``axis``)."""
        array = np.asarray(values)
        buffer = self.schema.BufferT()
        raw = packed(array) if kind == "int4" else np.ascontiguousarray(array, dtype=kind)
        buffer.data = np.frombuffer(raw.tobytes(), dtype=np.uint8)
        self._buffers.append(buffer)
        tensor = self._tensor(name, array.shape, kind, len(self._buffers) - 1)
        if steps is not None:
            tensor.quantization = self._quantization(steps, zero_point, axis)
        return self._append(tensor)

    def op(self, code: str, inputs: Sequence[int], output: int, *more: int, **options: Any) -> int:
        """Append an op; options are the fields of its options table. more: further outputs. Returns the output."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), [output, *more]
        table = OPTIONS.get(code)
        if table is not None:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(self.schema, f"{table}T")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        version = VERSIONS.get(code, 1)
        if any(self._tensors[index].type == self.schema.TensorType.INT4 for index in inputs):
            version = NIBBLE_VERSIONS[code]
        elif options.get("keepNumDims"):
            version = KEEPING_AXES
        self._versions[code] = max(version, self._versions.get(code, 1))
        return output

    def finish(
        self,
        inputs: Sequence[tuple[str, int]],
        outputs: Sequence[tuple[str, int]],
        description: str,
        metadata: tuple[str, str] | None = None,
    ) -> bytes:
        """The flatbuffer as bytes. inputs, outputs: names in its signature, with the tensors. metadata: name, text."""
        graph = self.schema.SubGraphT()
        graph.name = "main"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [index for _, index in inputs], [index for _, index in outputs]
        model = self.schema.ModelT()
        model.version = 3
        model.description = description
        if metadata is not None:
            entry, buffer = self.schema.MetadataT(), self.schema.BufferT()
            buffer.data = np.frombuffer(metadata[1].encode(), dtype=np.uint8)
            self._buffers.append(buffer)
            entry.name, entry.buffer = metadata[0], len(self._buffers) - 1
            model.metadata = [entry]
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [self._operator_code(code) for code in self._codes]
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(*pair) for pair in inputs]
        signature.outputs = [self._named(*pair) for pair in outputs]
        model.signatureDefs = [signature]
        return as_bytes(model)

    def _operator_code(self, name: str) -> Any:
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = self._versions[name]
        return code

    def _named(self, name: str, index: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        return entry

    def _quantization(self, steps: Sequence[float] | NDArray[Any], zero_point: int, axis: int = 0) -> Any:
        table = self.schema.QuantizationParametersT()
        table.scale = [float(step) for step in steps]
        table.zeroPoint = [zero_point] * len(table.scale)
        table.quantizedDimension = axis
        return table

    def _tensor(self, name: str, shape: Sequence[int], kind: str, buffer: int) -> Any:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(self.schema.TensorType, TYPES[kind])
        return tensor

    def _append(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def unpacked(flat: bytes) -> Any:
    """A file as the schema's ModelT. Raises ModelError for what is none."""
    if bytes(flat[4:8]) != IDENTIFIER:
        raise ModelError("this is no LiteRT file: the bytes that name its format are missing")
    return schema().ModelT.InitFromPackedBuf(bytearray(flat), 0)


def as_bytes(model: Any) -> bytes:
    """A ModelT as a file."""
    builder = require("flatbuffers").Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def packed(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes of -8 .. 7, two to a byte, the first in the low half.

    >>> packed(np.array([1, -1, 2]))
    array([241,   2], dtype=uint8)
    """
    halves = np.ravel(codes).astype(np.int8).view(np.uint8) & 15
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    return (halves[::2] | (halves[1::2] << 4)).astype(np.uint8)
