"""GraphWriter: an ONNX graph whose activations are integer tensors between QuantizeLinear and DequantizeLinear.

What computes (convolution, add, average) reads dequantized values and is quantized again, the form that
runtimes fuse into integer kernels; what clips or only moves elements works on the integers themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.exporters.onnx.constants import Constants
from mpq_plugins.exporters.onnx.containers import Container, activation_container, pack, weight_container
from mpq_plugins.exporters.onnx.opsets import check_opset
from mpq_plugins.exporters.onnx.requirements import require
from mpq_plugins.grid import Grid
from mpq_plugins.registry.version import __version__

SITES = "mpq_sites"
"""Metadata of a model: JSON, site name -> [tensor of its codes, zero point]; a third entry has the axes of the tensor
as axes of the site's values, where their order is another."""
INTEGER_OUTPUTS = "mpq_integer_outputs"
"""Metadata of a model: JSON, the float tensors with which the integer part ends."""
END_ORDERS = "mpq_integer_output_orders"
"""Metadata: of the tensors where the integer part ends, the axes, as axes of what the model has, where they differ."""
FLOAT_PARTS = "mpq_float_parts"
"""Metadata of a model: JSON, a float op whose output is quantized again -> [its tensor], and the order as of SITES."""
INT32_MAX = 2**31 - 1
NEWEST_IR = 13
"""The newest version of ONNX's own format that onnxruntime 1.31 reads."""

Shape = Sequence[int | str | None]


@dataclass(frozen=True)
class Codes:
    """An integer tensor of the graph: values are ``(stored - zero point) * step``."""

    name: str
    grid: Grid
    container: Container


@dataclass(frozen=True)
class Weight:
    """Integer codes of a weight in ONNX's layout, their grid, and the bias in steps of the accumulator, [outputs]."""

    codes: NDArray[Any]
    grid: Grid
    bias: NDArray[Any] | None = None


Value = Codes | str
"""A tensor of the graph: integer codes, or the name of a float tensor."""


@dataclass
class GraphWriter:
    """Collects nodes and constants; ``model()`` gives the checked ModelProto.

    opset: see check_opset. pack: store weights of 4 bits and fewer in ONNX's int4 (and int2). symmetric: see
    activation_container. Raises PluginError where onnx is not installed.
    """

    opset: int
    pack: bool = True
    symmetric: bool = False
    nodes: list[Any] = field(default_factory=list)
    constants: Constants = field(default_factory=Constants)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[tuple[str, str, Shape]] = field(default_factory=list)
    sites: dict[str, tuple[str, int]] = field(default_factory=dict)
    float_parts: dict[str, str] = field(default_factory=dict)
    tuples: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """What float ops of several results give: names of tensors, and tuples of them, by the op's own name."""
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of the axes of sites' tensors, see SITES; of float parts' too."""
    end_orders: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """See END_ORDERS."""
    _values: dict[str, str] = field(default_factory=dict)
    _weights: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_opset(self.opset)
        self.onnx = require("onnx")
        self.helper = require("onnx.helper")

    def input(self, name: str, shape: Shape) -> str:
        """A float32 input of the model; a string in the shape names a dynamic dimension."""
        self.inputs.append(self._info(name, shape))
        return name

    def output(self, name: str, value: Value, shape: Shape) -> None:
        """A float32 output of the model; its name must be that of no other tensor but an input, which it avoids."""
        taken = {info.name for info in self.inputs}
        self.outputs.append((f"{name}_value" if name in taken else name, self.float_of(value), shape))

    def constant(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """A constant of float32, int32, int64 or truth values."""
        return self.constants.array(name, array, dtype)

    def floats(self, x: str, name: str) -> str:
        """Truth values or whole numbers as float32."""
        return self.node("Cast", [x], name, to=self.onnx.TensorProto.FLOAT)

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node of one output, which has its name."""
        self.nodes.append(self.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def quantize(self, x: str, site: str, name: str, grid: Grid, bounds: tuple[int, int] | None = None) -> Codes:
        """The float tensor on a grid: QuantizeLinear, and a Clip where the container holds more codes.

        bounds: the smallest and the largest code that are wanted, where that is not all of the grid.
        """
        container = activation_container(grid, self.symmetric)
        low, high = bounds or (grid.low, grid.high)
        whole = low <= container.low and high >= container.high
        first = name if whole else f"{name}.unclipped"
        self.node(
            "QuantizeLinear", [x, self.constants.step(site, grid.steps[0]), self.constants.stored(container, 0)], first
        )
        codes = Codes(first, grid, container)
        codes = codes if whole else self.clip(codes, name, low, high)
        self.sites[site] = (codes.name, container.zero_point)
        return codes

    def on_grid(self, values: NDArray[Any], site: str, name: str, grid: Grid) -> Codes:
        """A constant activation, already on its grid, as codes."""
        container = activation_container(grid, self.symmetric)
        stored = grid.quantize(values).astype(np.int64) + container.zero_point
        self.constants.raw(name, container.type, stored.shape, pack(stored, container.type))
        self.sites[site] = (name, container.zero_point)
        return Codes(name, grid, container)

    def float_of(self, value: Value) -> str:
        """The name of the float tensor of a value: DequantizeLinear, once for each tensor of codes."""
        if isinstance(value, str):
            return value
        if value.name not in self._values:
            scale = self.constants.step(value.name, value.grid.steps[0])
            inputs = [value.name, scale, self.constants.stored(value.container, 0)]
            self._values[value.name] = self.node("DequantizeLinear", inputs, f"{value.name}.value")
        return self._values[value.name]

    def clip(self, x: Codes, name: str, low: int, high: int) -> Codes:
        """Codes clipped to low .. high, by a Clip of integers where the container does not do it."""
        low, high = max(min(low, high), x.container.low), min(high, x.container.high)
        bounds = [
            self.constants.stored(x.container, low) if low > x.container.low else "",
            self.constants.stored(x.container, high) if high < x.container.high else "",
        ]
        if not any(bounds):
            return x
        return Codes(self.node("Clip", [x.name, *(bounds if bounds[1] else bounds[:1])], name), x.grid, x.container)

    def moved(self, op: str, x: Value, name: str, inputs: Sequence[str] = (), **attributes: Any) -> Value:
        """An op that only moves elements, on codes or on float values."""
        return self.joined(op, [x], name, inputs, **attributes)

    def joined(
        self, op: str, parts: Sequence[Value], name: str, inputs: Sequence[str] = (), **attributes: Any
    ) -> Value:
        """The same for an op of several tensors (Concat), which have one grid, or are all made float."""
        first = parts[0]
        if isinstance(first, Codes) and all(isinstance(p, Codes) and p.container == first.container for p in parts):
            names = [p.name for p in parts if isinstance(p, Codes)]
            return Codes(self.node(op, [*names, *inputs], name, **attributes), first.grid, first.container)
        return self.node(op, [*map(self.float_of, parts), *inputs], name, **attributes)

    def zero(self, x: Value) -> str:
        """A constant that stands for zero among the elements of a tensor."""
        return self.constants.stored(x.container, 0) if isinstance(x, Codes) else self.constant("float32.0", 0.0)

    def layer(
        self,
        op: str,
        site: str,
        name: str,
        x: Codes,
        weight: Weight,
        grid: Grid,
        bounds: tuple[int, int] | None = None,
        **attributes: Any,
    ) -> Codes:
        """A convolution or Gemm: dequantized input, weight and int32 bias, and the output on its grid."""
        inputs = [self.float_of(x), self._weight(site, weight)]
        if weight.bias is not None:
            inputs.append(self._bias(site, name, weight, x.grid))
        return self.quantize(self.node(op, inputs, f"{name}.sum", **attributes), site, name, grid, bounds)

    def model(self, integer_outputs: Sequence[str], metadata: Mapping[str, str]) -> Any:
        """The ModelProto, checked by onnx with shape inference. metadata: further entries for metadata_props."""
        nodes, renamed = self._name_outputs()
        outputs = [self._info(name, shape) for name, _, shape in self.outputs]
        read = {name for node in nodes for name in node.input}
        graph = self.helper.make_graph(nodes, "mpq", self.inputs, outputs, self.constants.among(read))
        imports = [self.helper.make_opsetid("", self.opset)]
        version = min(self.helper.find_min_ir_version_for(imports), NEWEST_IR)
        model = self.helper.make_model(graph, opset_imports=imports, ir_version=version, producer_name="mpq-plugins")
        model.producer_version = __version__
        ends = [renamed.get(tensor, tensor) for tensor in integer_outputs]
        sites = {site: [*found, *self._order(site)] for site, found in self.sites.items()}
        floats = {part: [renamed.get(name, name), *self._order(part)] for part, name in self.float_parts.items()}
        noted = {SITES: json.dumps(sites), INTEGER_OUTPUTS: json.dumps(ends)}
        turned = {renamed.get(tensor, tensor): axes for tensor, axes in self.end_orders.items()}
        if turned:
            noted[END_ORDERS] = json.dumps(turned)
        if floats:
            noted[FLOAT_PARTS] = json.dumps(floats)
        entries = {**noted, **metadata}
        self.helper.set_model_props(model, entries)
        require("onnx.checker").check_model(model, full_check=True)
        return model

    def _order(self, site: str) -> list[tuple[int, ...]]:
        return [self.orders[site]] if site in self.orders else []

    def _name_outputs(self) -> tuple[list[Any], dict[str, str]]:
        """The nodes with outputs named as those of the model; and old name -> new name."""
        made = {output for node in self.nodes for output in node.output}
        renamed: dict[str, str] = {}
        copies: list[Any] = []
        for name, tensor, _ in self.outputs:
            if tensor in made and tensor not in renamed:
                renamed[tensor] = name
            else:
                copies.append(self.helper.make_node("Identity", [renamed.get(tensor, tensor)], [name], name=name))
        nodes = []
        for node in self.nodes:
            named = self.onnx.NodeProto()
            named.CopyFrom(node)
            for names in (named.input, named.output):
                names[:] = [renamed.get(n, n) for n in names]
            nodes.append(named)
        return [*nodes, *copies], renamed

    def _weight(self, site: str, weight: Weight) -> str:
        grid, axis = weight.grid, weight.grid.axis
        container = weight_container(grid, self.pack, self.opset)
        packed = pack(weight.codes, container.type)
        # a layer that is called twice has one weight; not at 8 bits, where onnxruntime may have to make it uint8, once
        key = (packed, weight.codes.shape, container.type, grid.steps, axis, site if grid.bits > 7 else "")
        if key in self._weights:
            return self._weights[key]
        name = f"{site}.weight"
        stored = self.constants.raw(f"{name}.codes", container.type, weight.codes.shape, packed)
        if container.type != "int8":
            # onnxruntime takes its integer kernels for int8 weights only, and folds this cast when it loads the model
            stored = self.node("Cast", [stored], f"{name}.int8", to=self.onnx.TensorProto.INT8)
        scale = self.constants.steps(site, f"{name}.step", np.asarray(grid.steps), axis)
        zeros = () if axis is None else (len(grid.steps),)
        # not shared: onnxruntime rewrites the zero point of each weight that it turns into uint8
        zero = self.constants.raw(f"{name}.zero_point", "int8", zeros, bytes(len(grid.steps)))
        along = {} if axis is None else {"axis": axis}
        self._weights[key] = self.node("DequantizeLinear", [stored, scale, zero], f"{name}.value", **along)
        return self._weights[key]

    def _bias(self, site: str, name: str, weight: Weight, source: Grid) -> str:
        codes = np.rint(np.asarray(weight.bias, np.float64))
        if np.abs(codes).max(initial=0) > INT32_MAX:
            raise GridError(
                f"{site}: its bias is {np.abs(codes).max():.3g} steps of the accumulator, and an int32 bias holds "
                f"{INT32_MAX}; give its weight or its input a larger threshold"
            )
        axis = None if weight.grid.axis is None else 0
        steps = np.asarray(weight.grid.steps) * source.steps[0]
        steps = steps if axis is None else np.tile(steps, len(codes) // len(steps))
        stored = self.constants.raw(f"{name}.bias.codes", "int32", codes.shape, codes.astype("<i4").tobytes())
        scale = self.constants.steps(site, f"{name}.bias.step", steps, axis)
        along = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", [stored, scale], f"{name}.bias.value", **along)

    def _info(self, name: str, shape: Shape) -> Any:
        return self.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, list(shape))
