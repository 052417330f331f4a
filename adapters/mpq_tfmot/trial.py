"""The float model with some of its tensors changed: what sensitivities by trial are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError
from mpq_plugins.moments import Array
from mpq_plugins.problem import PROBES, Change
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import CanonicalModel, last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT, Op, compute
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import weight_from_matrix, weight_matrix


class Trial:
    """Runs a canonical model on at most PROBES samples. Changed weights are copies; the model's stay as they are."""

    def __init__(self, model: CanonicalModel, batches: Sequence[Batch]) -> None:
        self._model = model
        chunks = in_chunks(batches)
        counts = np.cumsum([0, *(len(chunk[0]) for chunk in chunks)])
        self._batches = [
            tuple(array[: PROBES - start] for array in chunk)
            for chunk, start in zip(chunks, counts, strict=False)
            if start < PROBES
        ]

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """The float outputs of the integer part of the model, its batches one after another.

        changes: by site, what to make of a weight in matrix form [out, in], or of an activation.
        Raises ModelError for a site that the model does not have.
        """
        known = {op.name for op in self._model.ops} | {op.weight_site for op in self._model.layers}
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ModelError(f"the model has no site {', '.join(unknown)}")
        ops = [_changed(op, changes) for op in self._model.ops if op.kind != FLOAT]
        ends = last_integer_ops(self._model)
        results = [self._run(ops, batch, ends, changes) for batch in self._batches]
        return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))

    def _run(self, ops: Sequence[Op], batch: Batch, ends: Sequence[str], changes: Mapping[str, Change]) -> list[Array]:
        given = dict(zip((op.name for op in self._model.inputs), batch, strict=True))
        values: dict[str, Any] = {}
        for op in ops:
            value = tf.constant(given[op.name]) if op.kind == "input" else compute(op, [values[n] for n in op.inputs])
            if op.name in changes:
                value = tf.constant(np.asarray(changes[op.name](value.numpy().astype(np.float64))), value.dtype)
            values[op.name] = value
        return [values[name].numpy().astype(np.float64) for name in ends]


def _changed(op: Op, changes: Mapping[str, Change]) -> Op:
    if not op.weighted or op.weight_site not in changes:
        return op
    matrix = weight_matrix(op)
    rows = np.asarray(changes[op.weight_site](np.array(matrix.reshape(-1, matrix.shape[-1]))))
    return replace(op, weight=weight_from_matrix(op, rows))
