"""The ops of an exported graph, in the words that a recipe knows; everything else is float."""

from __future__ import annotations

import math
from typing import Any

from torch import fx
from torch._ops import OpOverload

from mpq_plugins.graph.ops import spelled
from mpq_plugins.grid import Grid
from mpq_plugins.registry import once_known
from mpq_torch.calling.node_arguments import arguments_of
from mpq_torch.modules.function_op import NAMESPACE
from mpq_torch.reader.aten_names import functions, of_two
from mpq_torch.reader.spelled import OPS

WEIGHTED = frozenset({"conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "linear"})
RECTIFIERS = frozenset({"relu", "relu_"})
CLAMPS = frozenset({"clamp", "clamp_", "clip", "clip_", "hardtanh", "hardtanh_", "relu6", "relu6_"})
CONCATS = frozenset({"cat", "concat", "concatenate"})
BATCH_NORMS = frozenset({"batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})
_POOLS = frozenset(
    {"max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "mean"}
)
_VIEWS = frozenset(
    {"view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "slice", "narrow", "flip"}
)
_COPIES = frozenset({"contiguous", "clone", "alias", "detach", "pad", "constant_pad_nd", "upsample_nearest2d"})
_DROPOUTS = frozenset({"dropout", "dropout_", "feature_dropout"})
SAME_GRID = _POOLS | _VIEWS | _COPIES | _DROPOUTS
"""Ops whose output lies on the grid of their input, or is rounded onto it (pooling)."""


@once_known
def quantizable() -> frozenset[str]:
    """The ops that a recipe may have a grid for."""
    return WEIGHTED | of_two() | functions() | RECTIFIERS | CLAMPS | CONCATS | SAME_GRID | BATCH_NORMS


@once_known
def _packages_ops() -> dict[str, str]:
    """The words of records by the operators of other packages that they spell ("acme.swoosh")."""
    return {name.removeprefix(OPS): op.word for name, op in spelled("torch").items() if name.startswith(OPS)}


def op_of(node: fx.Node) -> str:
    """The name of the aten op that a node calls, without namespace and overload; empty for anything else.

    The word of the record where the op is a function that torch has not.
    """
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return ""
    name = str(node.target.overloadpacket.__name__)
    if node.target.namespace == "aten":
        return name
    if node.target.namespace == NAMESPACE:
        return str(node.args[1])
    return _packages_ops().get(f"{node.target.namespace}.{name}", "")


def argument(node: fx.Node, name: str, default: Any = None) -> Any:
    """An argument of a call by its name in the schema."""
    if name in node.kwargs:
        return node.kwargs[name]
    assert isinstance(node.target, OpOverload), f"{node} calls no operator of torch"
    for position, described in enumerate(node.target._schema.arguments):
        if described.name == name:
            return node.args[position] if position < len(node.args) else default
    return default


def tensors_of(node: fx.Node) -> list[fx.Node]:
    """The activations that a quantizable op reads, each once: neither its weight nor sizes."""
    first, *others = arguments_of(node)
    if op_of(node) in of_two():
        read = [first, others[0]]
    elif op_of(node) in CONCATS:
        read = list(first)
    else:
        read = [first]
    return list(dict.fromkeys(source for source in read if isinstance(source, fx.Node)))


def clamped_codes(node: fx.Node, grid: Grid, codes: tuple[int, int]) -> tuple[int, int]:
    """What a clamp leaves of the codes: its bounds move inwards onto the grid, as in the simulation."""
    if op_of(node) in ("relu6", "relu6_"):
        low, high = 0.0, 6.0
    elif op_of(node) in ("hardtanh", "hardtanh_"):
        low, high = argument(node, "min_val", -1.0), argument(node, "max_val", 1.0)
    else:
        low, high = argument(node, "min"), argument(node, "max")
    step = grid.steps[0]
    lowest = grid.low if low is None else max(grid.low, math.ceil(low / step))
    highest = grid.high if high is None else min(grid.high, math.floor(high / step))
    lowest = min(lowest, highest)  # no code may lie between the bounds
    return _clip(codes[0], lowest, highest), _clip(codes[1], lowest, highest)


def _clip(code: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, code))


def follow_in_place_ops(graph: fx.Graph) -> None:
    """Let what runs after an op that overwrites its input read the result instead of the input, in place.

    Inserting a quantizer between the two would otherwise bring the old values back.
    """
    before: set[fx.Node] = set()
    for node in list(graph.nodes):
        before.add(node)
        if not op_of(node).endswith("_") or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        for reader in list(node.args[0].users):
            if reader not in before:
                reader.replace_input_with(node.args[0], node)
