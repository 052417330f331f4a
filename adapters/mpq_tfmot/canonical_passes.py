"""The passes that bring a list of ops into canonical form: batch norms folded, ReLUs fused, the tail float."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_plugins.folding import fold_batch_norm
from mpq_tfmot.canonical_ops import FLOAT, OWN_GRID, Array, Op, compute
from mpq_tfmot.layers import BATCH_NORM, UNKNOWN

SHOWN = 5
"""How many refused layers an error lists before it says how many more there are."""


def _count_readers(ops: list[Op], outputs: list[str]) -> dict[str, int]:
    counts = dict.fromkeys((op.name for op in ops), 0)
    for name in [*outputs, *(name for op in ops for name in op.inputs)]:
        counts[name] += 1
    return counts


def _merge(ops: list[Op], outputs: list[str], gone: Op, merged: Op) -> tuple[list[Op], list[str]]:
    """The list without ``gone``, whose work ``merged`` (in place of the op of its name) now does too."""
    kept = []
    for op in ops:
        if op.name == merged.name:
            op = merged
        if op.name != gone.name:
            inputs = tuple(merged.name if name == gone.name else name for name in op.inputs)
            kept.append(op if inputs == op.inputs else replace(op, inputs=inputs))
    return kept, [merged.name if name == gone.name else name for name in outputs]


def fold_batch_norms(ops: list[Op], outputs: list[str], into_layers: bool = True) -> tuple[list[Op], list[str]]:
    """Fold every batch norm into the layer before it, or make it a depthwise 1x1 convolution.

    into_layers: False leaves those that follow a layer as they are, for a model that trains with them.
    """
    for norm in [op for op in ops if op.kind == BATCH_NORM]:
        by_name, counts = {op.name: op for op in ops}, _count_readers(ops, outputs)
        before, statistics = by_name[norm.inputs[0]], norm.options["statistics"]
        alone = counts[before.name] == 1 and before.low is None and before.high is None
        if before.weighted and alone:
            if into_layers:
                folded_pair = fold_batch_norm(before.weight, before.bias, *statistics, axis=before.channel_axis)
                weight, bias = map(_as_held, folded_pair)
                folded = replace(before, weight=weight, bias=bias, options=_with_fused(before, norm))
                ops, outputs = _merge(ops, outputs, norm, folded)
            continue
        if len(norm.shape) != 3:
            raise UnsupportedOp(
                f"{norm.name}: a batch norm that follows no layer it could be folded into needs an input of "
                f"[height, width, channels], not {norm.shape}; fold it by hand"
            )
        scale_pair = fold_batch_norm(np.ones((1, 1, norm.shape[-1], 1)), None, *statistics, axis=2)
        weight, bias = map(_as_held, scale_pair)
        scale = replace(norm, kind="depthwise_conv2d", weight=weight, bias=bias, options={"padding": "valid"})
        ops = [scale if op.name == norm.name else op for op in ops]
    return ops, outputs


def _as_held(folded: Array) -> Array:
    """Float64 values that a float32 layer holds: what is measured, and rounded, is what a model in Keras has."""
    return folded.astype(np.float32).astype(np.float64)


def _with_fused(op: Op, gone: Op) -> dict[str, Any]:
    """The options of an op that does the work of another one too."""
    return {**op.options, "fused": (*op.options.get("fused", ()), gone.name)}


def fuse_clamps(ops: list[Op], outputs: list[str]) -> tuple[list[Op], list[str]]:
    """Fuse a ReLU into the op before it where nobody else reads that op."""
    for relu in [op for op in ops if op.kind == "relu"]:
        by_name, counts = {op.name: op for op in ops}, _count_readers(ops, outputs)
        before = by_name[relu.inputs[0]]
        if before.kind not in OWN_GRID or before.kind == "input" or counts[before.name] != 1:
            continue
        low = relu.low if before.low is None else max(before.low, relu.low if relu.low is not None else before.low)
        high = relu.high if before.high is None else min(before.high, before.high if relu.high is None else relu.high)
        fused = replace(before, low=low, high=high, options=_with_fused(before, relu))
        ops, outputs = _merge(ops, outputs, relu, fused)
    return ops, outputs


def mark_flattened(ops: list[Op]) -> list[Op]:
    """Tell every dense layer that reads a flattened image of which shape it is, so that its inputs can be ordered."""
    images: dict[str, tuple[int, ...]] = {}
    shapes = {op.name: op.shape for op in ops}
    done = []
    for op in ops:
        source = op.inputs[0] if op.inputs else ""
        if op.kind == "reshape" and len(op.shape) == 1 and len(shapes[source]) > 1:
            images[op.name] = shapes[source]
        elif op.kind in ("relu", "lookup", "add") and source in images:
            images[op.name] = images[source]
        elif op.kind == "linear" and source in images:
            op = replace(op, options={**op.options, "flattened": images[source]})
        done.append(op)
    return done


def float_tail(ops: list[Op]) -> list[Op]:
    """Make what has no integer form float where no weight follows, and refuse it where one does."""
    if not any(op.weighted for op in ops):
        raise ModelError("the model has no convolution or dense layer to quantize")
    before_weight: set[str] = set()
    for op in reversed(ops):
        if op.weighted or op.name in before_weight:
            before_weight.update(op.inputs)
    refused = [op for op in ops if op.kind == UNKNOWN and op.name in before_weight]
    if refused:
        listed = "; ".join(f"{op.name}: {op.options['what']}" for op in refused[:SHOWN])
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise UnsupportedOp(
            f"{listed}{more}: no integer kernel for it, and a weight follows, so the model would stay float in part; "
            "replace the layer or cut the model there"
        )
    floats: set[str] = set()
    done = []
    for op in ops:
        if op.kind == UNKNOWN or floats.intersection(op.inputs):
            floats.add(op.name)
            op = _as_float(op)
        done.append(op)
    return done


def _as_float(op: Op) -> Op:
    function = op.options.get("function") or (lambda *inputs: compute(op, inputs))
    return Op(op.name, FLOAT, op.inputs, op.shape, options={**op.options, "function": function})
