"""A model on its grids as a LiteRT flatbuffer in which every quantized op is an integer op.

We write the flatbuffer from the grids themselves instead of asking the converter to recognise
FakeQuant ops: nothing can stay float unseen, and every tensor carries the name of its site. Grids of
less than 8 bits sit in int8 at their own (coarse) step, with MINIMUM and MAXIMUM where they end
before int8 does; unsigned ones have zero point -128, which clips at zero for free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_tfmot.arithmetic import XNNPACK, zero_point_of
from mpq_tfmot.canonical_ops import ALIASES, FLOAT, Op
from mpq_tfmot.flatbuffer import FlatbufferWriter
from mpq_tfmot.litert_limits import check_limits
from mpq_tfmot.simulation import Simulation, accumulator_steps, clamp_codes

FULL = "/unclipped"
"""Suffix of the tensor that holds a site before it is clipped to its grid."""
PACKED_BITS = 4


def write_litert(simulation: Simulation, pack: bool = True) -> bytes:
    """The flatbuffer that computes what ``simulation`` computes.

    pack: store weights of 4 bits and fewer two to a byte, where the runtime runs that exactly.
    Raises UnsupportedOp, with the names, where a layer would stay float, and GridError for steps that
    lie too far apart for XNNPACK.
    """
    check_limits(simulation)
    return _Conversion(simulation, pack).run()


class _Conversion:
    def __init__(self, simulation: Simulation, pack: bool) -> None:
        self.simulation = simulation
        self.pack = pack
        self.writer = FlatbufferWriter()
        self.tensors: dict[str, int] = {}

    def run(self) -> bytes:
        inputs = []
        model = self.simulation.model
        unknown = [op for op in model.ops if op.kind == FLOAT and op.options.get("what") not in _FLOAT_CODES]
        if unknown:
            raise UnsupportedOp(
                f"{', '.join(op.name for op in unknown)}: would stay float, and no kernel for it is known; cut the "
                "model before it and compute it outside"
            )
        for op in model.ops:
            if op.kind == "input":
                inputs.append(self.writer.variable(f"{op.name}/float", op.shape, "float32"))
                self._integer(op, [inputs[-1]])
            elif op.kind == FLOAT:
                self._float(op)
            else:
                self._integer(op, [self.tensors[name] for name in op.inputs])
        outputs = [self._as_float(name) for name in model.outputs]
        return self.writer.finish(inputs, outputs, f"mpq-plugins, target {self.simulation.target.name}")

    def _integer(self, op: Op, inputs: list[int]) -> None:
        grid = self.simulation.grid(op)
        if op.kind in ALIASES and op.kind != "reshape":
            self.tensors[op.name] = self._clipped(op, grid, inputs[0], op.name)
            return
        clips = self._clips(op, grid)
        name = f"{op.name}{FULL}" if clips else op.name
        output = self._written(op, grid, inputs, name)
        self.tensors[op.name] = self._clipped(op, grid, output, op.name) if clips else output

    def _clips(self, op: Op, grid: Grid) -> bool:
        """Whether the op gives int8 codes that its site must not hold."""
        own = op.kind == "input" or op.weighted or op.kind in ("add", "lookup")
        if op.kind == "lookup":
            return False
        low, high = clamp_codes(op, grid)
        zero = zero_point_of(grid)
        return own and (low + zero > -128 or high + zero < 127)

    def _clipped(self, op: Op, grid: Grid, tensor: int, name: str) -> int:
        low, high = clamp_codes(op, grid)
        zero, steps = zero_point_of(grid), grid.steps
        bounds = [
            (code, bound)
            for code, bound, binds in (
                ("MAXIMUM", low + zero, low + zero > -128),
                ("MINIMUM", high + zero, high + zero < 127),
            )
            if binds
        ]
        for index, (code, bound) in enumerate(bounds):
            constant = self.writer.constant(f"{name}/{code.lower()}", np.array(bound), "int8", steps, zero)
            last = index == len(bounds) - 1
            output = self.writer.variable(name if last else f"{name}/{code}", op.shape, "int8", grid)
            tensor = self.writer.op(code, [tensor, constant], output)
        return tensor

    def _written(self, op: Op, grid: Grid, inputs: list[int], name: str) -> int:
        if op.weighted or op.kind in ("max_pool", "avg_pool", "upsample"):
            flat = len(op.shape) == 2 and op.kind != "linear"
            shape = (1, *op.shape) if flat else op.shape
            x = self._flat(op, inputs[0]) if flat else inputs[0]
            output = self.writer.variable(f"{name}/2d" if flat else name, shape, "int8", grid)
            if op.weighted:
                self._weighted(op, x, output)
            elif op.kind == "upsample":
                size = self.writer.constant(f"{name}/size", np.array(shape[:2]), "int32")
                self.writer.op("RESIZE_NEAREST_NEIGHBOR", [x, size], output)
            else:
                code = "MAX_POOL_2D" if op.kind == "max_pool" else "AVERAGE_POOL_2D"
                (height, width), (rows, columns) = _pair(op, "pool"), _pair(op, "strides")
                self.writer.op(
                    code, [x], output, padding=_padding(op), filterHeight=height, filterWidth=width,
                    strideH=rows, strideW=columns,
                )  # fmt: skip
            return self._reshaped(output, op.shape, grid, name) if flat else output
        output = self.writer.variable(name, op.shape, "int8", grid)
        if op.kind == "input":
            return self.writer.op("QUANTIZE", inputs, output)
        if op.kind == "add":
            return self.writer.op("ADD", inputs, output, potScaleInt16=False)
        if op.kind == "concat":
            axis = op.options["axis"]
            return self.writer.op("CONCATENATION", inputs, output, axis=axis)
        if op.kind == "lookup":
            return self._lookup(op, grid, inputs[0], output)
        if op.kind == "global_avg_pool":
            axes = self.writer.constant(f"{name}/axes", np.array(op.options["axes"]), "int32")
            return self.writer.op("MEAN", [inputs[0], axes], output, keepDims=op.options["keepdims"])
        if op.kind == "pad":
            paddings = np.array([(0, 0), *op.options["paddings"]])
            return self.writer.op(
                "PAD", [inputs[0], self.writer.constant(f"{name}/paddings", paddings, "int32")], output
            )
        if "permutation" in op.options:
            order = self.writer.constant(f"{name}/order", np.array(op.options["permutation"]), "int32")
            return self.writer.op("TRANSPOSE", [inputs[0], order], output)
        return self._reshape(inputs[0], op.shape, output, name)

    def _weighted(self, op: Op, x: int, output: int) -> None:
        grid, source = (
            self.simulation.grids[op.weight_site],
            self.simulation.grids[self.simulation.grid_of[op.inputs[0]]],
        )
        pack, dense = self._packed(op, grid), op.kind == "linear"
        if pack and _pointwise(op) and self.simulation.kernels == XNNPACK:
            dense = True
        codes = grid.quantize(op.weight)
        arranged = codes.reshape(codes.shape[-2:]).T if dense else _arranged(op, codes)
        axis = 3 if op.kind.startswith("depthwise") else 0
        weight = self.writer.constant(op.weight_site, arranged, "int4" if pack else "int8", grid.steps, axis=axis)
        steps = accumulator_steps(op, grid, source)
        bias_steps = steps if grid.axis is not None else steps[:1]
        bias = self.writer.constant(f"{op.name}.bias", np.rint(op.bias / steps), "int32", bias_steps)
        if dense:
            keep = len(op.shape) > 1
            self.writer.op("FULLY_CONNECTED", [x, weight, bias], output, keepNumDims=keep)
            return
        (rows, columns), (d_rows, d_columns) = _pair(op, "strides"), _pair(op, "dilation")
        common = {"padding": _padding(op), "strideH": rows, "strideW": columns}
        if op.kind == "conv_transpose2d":
            shape = self._open_shape(op, x)
            self.writer.op("TRANSPOSE_CONV", [shape, weight, x, bias], output, **common)
            return
        dilation = {"dilationHFactor": d_rows, "dilationWFactor": d_columns}
        if op.kind.startswith("depthwise"):
            self.writer.op("DEPTHWISE_CONV_2D", [x, weight, bias], output, depthMultiplier=1, **common, **dilation)
        else:
            self.writer.op("CONV_2D", [x, weight, bias], output, **common, **dilation)

    def _packed(self, op: Op, grid: Grid) -> bool:
        """Whether the weight is stored two codes to a byte.

        XNNPACK does so for dense layers alone, and a pointwise convolution is one; other convolutions
        it would leave to the built-in kernel, which rounds otherwise. The built-in kernels do so for
        all but transposed convolutions.
        """
        if not self.pack or grid.bits > PACKED_BITS or op.kind == "conv_transpose2d":
            return False
        return self.simulation.kernels != XNNPACK or op.kind == "linear" or _pointwise(op)

    def _open_shape(self, op: Op, x: int) -> int:
        """The shape of a transposed convolution's output, its batch taken from the input."""
        name, writer = op.name, self.writer
        whole = writer.op("SHAPE", [x], writer.plain(f"{name}/shape", (4,), "int32"), outType=schema.TensorType.INT32)
        bounds = [writer.constant(f"{name}/slice{v}", np.array([v]), "int32") for v in (0, 1)]
        batch = writer.plain(f"{name}/batch", (1,), "int32")
        writer.op("STRIDED_SLICE", [whole, bounds[0], bounds[1], bounds[1]], batch)
        rest = writer.constant(f"{name}/rest", np.array(op.shape), "int32")
        return writer.op("CONCATENATION", [batch, rest], writer.plain(f"{name}/full_shape", (4,), "int32"), axis=0)

    def _lookup(self, op: Op, grid: Grid, x: int, output: int) -> int:
        """Any function of one element as a table over the codes of its input."""
        codes = np.rint(self.simulation.table(op) / grid.steps[0]) + zero_point_of(grid)
        name, writer = op.name, self.writer
        wide = writer.op("CAST", [x], writer.variable(f"{name}/wide", op.shape, "int32"),
                         inDataType=schema.TensorType.INT8, outDataType=schema.TensorType.INT32)  # fmt: skip
        offset = writer.constant(f"{name}/offset", np.array(128), "int32")
        index = writer.op("ADD", [wide, offset], writer.variable(f"{name}/index", op.shape, "int32"))
        table = writer.constant(f"{name}/table", codes, "int8", grid.steps, zero_point_of(grid))
        return writer.op("GATHER", [table, index], output, axis=0)

    def _flat(self, op: Op, tensor: int) -> int:
        source = self.simulation.model[op.inputs[0]]
        shape = (1, *source.shape)
        output = self.writer.variable(f"{op.name}/input2d", shape, "int8", self.simulation.grid(source))
        return self._reshape(tensor, shape, output, f"{op.name}/input2d")

    def _reshaped(self, tensor: int, shape: tuple[int, ...], grid: Grid, name: str) -> int:
        return self._reshape(tensor, shape, self.writer.variable(name, shape, "int8", grid), name)

    def _reshape(self, tensor: int, shape: tuple[int, ...], output: int, name: str) -> int:
        wanted = [-1, *shape]
        constant = self.writer.constant(f"{name}/shape", np.array(wanted), "int32")
        return self.writer.op("RESHAPE", [tensor, constant], output, newShape=wanted)

    def _as_float(self, name: str) -> int:
        """The tensor of an op as float32."""
        op = self.simulation.model[name]
        if op.kind == FLOAT:
            return self.tensors[name]
        output = self.writer.variable(f"{name}/float", op.shape, "float32")
        return self.writer.op("DEQUANTIZE", [self.tensors[name]], output)

    def _float(self, op: Op) -> None:
        code, options = _FLOAT_CODES[str(op.options["what"])]
        output = self.writer.variable(op.name, op.shape, "float32")
        self.tensors[op.name] = self.writer.op(code, [self._as_float(name) for name in op.inputs], output, **options)


_FLOAT_CODES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("SOFTMAX", {"beta": 1.0}),
    "Softmax": ("SOFTMAX", {"beta": 1.0}),
    "sigmoid": ("LOGISTIC", {}),
}


def _pointwise(op: Op) -> bool:
    """Whether a convolution is a dense layer at every position."""
    return op.kind in ("conv1d", "conv2d") and set(op.weight.shape[:-2]) == {1} and set(_pair(op, "strides")) == {1}


def _arranged(op: Op, codes: NDArray[Any]) -> NDArray[Any]:
    """Keras' weight as LiteRT lays it out: output channels first, but last in a depthwise weight."""
    if op.kind.endswith("1d"):
        codes = codes[None]
    if op.kind.startswith("depthwise"):
        return codes.transpose(3, 0, 1, 2)
    return codes.transpose(2, 0, 1, 3) if op.kind == "conv_transpose2d" else codes.transpose(3, 0, 1, 2)


def _padding(op: Op) -> int:
    padding = str(op.options.get("padding", "valid"))
    return int(schema.Padding.SAME if padding == "same" else schema.Padding.VALID)


def _pair(op: Op, name: str) -> tuple[int, int]:
    value = tuple(op.options.get(name, (1, 1)))
    return (1, int(value[0])) if len(value) == 1 else (int(value[0]), int(value[1]))
