"""Keras' recurrent layers taken apart, so that their products can be quantized.

A layer is its cells, one for each step, whose layers all of them share. The steps have to be as many at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.recurrence import MOST_STEPS
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.record import is_symbol
from mpq_tfmot.reader.recurrent_cells import Step, step_of

MERGES: dict[str | None, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: tf.concat([a, b], -1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) * 0.5,
}
"""What a Bidirectional makes of both directions."""
REMEMBERS = "it remembers from one call to the next; build it with stateful=False"


def is_recurrent(layer: Any) -> bool:
    """Whether it is one of Keras' own layers of series, or both ways of one."""
    own = type(layer).__module__.partition(".")[0] in ("tf_keras", "keras")
    return own and isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))


def recurrent(layer: Any, given: Any) -> Callable[[Any], Any] | None:
    """What a recurrent layer, or both ways of one, computes, of symbols; None for one that is another function here.

    given: the symbol that it reads, or a list of that and initial states.
    """
    x, *begun = given if isinstance(given, (list, tuple)) else [given]
    if x.shape[1] is None or x.shape[1] > MOST_STEPS:
        return None
    if not isinstance(layer, keras.layers.Bidirectional):
        step = _step(layer, layer.name)
        return None if step is None else lambda given: _listed(_series(layer, step, given), layer)
    ways = (layer.forward_layer, layer.backward_layer)
    steps = [_step(way, way.name) for way in ways]
    if None in steps or layer.merge_mode not in (*MERGES, None) or len(begun) % 2:
        return None
    first, second = (step for step in steps if step is not None)
    return lambda given: _both(layer, first, second, given)


def _step(layer: Any, name: str) -> Step | None:
    """One step of a layer; None where it does more than going through a series."""
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    if layer.stateful or layer.time_major or (layer.return_state and stacked) or getattr(layer, "_num_constants", 0):
        return None
    return step_of(layer.cell, name)


def _series(layer: Any, step: Step, given: Any, turned: bool = False) -> tuple[Any, Sequence[Any]]:
    """All outputs, in the order of the steps, or the last one; and the last states.

    turned: of the second direction of a Bidirectional.
    """
    x, *begun = given if isinstance(given, (list, tuple)) else [given]
    states: Sequence[Any] | None = None if all(map(_is_zero, begun)) else begun
    found = []
    for index in range(x.shape[1])[::-1] if layer.go_backwards else range(x.shape[1]):
        output, states = step(x[:, index], states)
        found.append(output)
    assert states is not None, f"{layer.name}: a series of no step"
    if not layer.return_sequences:
        return found[-1], states
    return tf.stack(found[::-1] if turned else found, 1), states


def _is_zero(state: Any) -> bool:
    return not is_symbol(state) and not np.any(np.asarray(state))


def _listed(found: tuple[Any, Sequence[Any]], layer: Any) -> Any:
    return [found[0], *found[1]] if layer.return_state else found[0]


def _both(layer: Any, first: Step, second: Step, given: Any) -> Any:
    """Both directions, merged."""
    x, *begun = given if isinstance(given, (list, tuple)) else [given]
    half = len(begun) // 2
    one = _series(layer.forward_layer, first, [x, *begun[:half]])
    other = _series(layer.backward_layer, second, [x, *begun[half:]], turned=True)
    merge = MERGES.get(layer.merge_mode)
    outputs = [one[0], other[0]] if merge is None else [merge(one[0], other[0])]
    found = [*outputs, *one[1], *other[1]] if layer.return_state else outputs
    return found if len(found) > 1 else found[0]
