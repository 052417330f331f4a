"""Several functions of one element behind and beside one another, as the one function that they are (attrs: steps).

Each step is a word, what it reads and its settings, pairs of name and value. It reads "x", the results of earlier steps
by their numbers, and constants, which are floats; the last one is the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.logic import FUNCTIONS
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runner import Runner, Tensor

PIECEWISE, X = "piecewise", "x"
Steps = tuple[tuple[str, tuple[str | int | float, ...], tuple[tuple[str, Any], ...]], ...]


def piecewise(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Step after step."""
    found: list[Any] = []
    for word, sources, settings in node.attrs["steps"]:
        read = [x if source == X else found[source] if isinstance(source, int) else source for source in sources]
        found.append(_value(run, word, read, dict(settings), x))
    return found[-1]


def _value(run: Runner, word: str, read: list[Any], settings: Mapping[str, Any], like: Any) -> Tensor:
    if word == "clamp":
        y = read[0] if settings["low"] is None else run.maximum(read[0], settings["low"])
        return y if settings["high"] is None else run.minimum(y, settings["high"])
    if word in FUNCTIONS:
        arrays = [run.array(source, like) if isinstance(source, float) else source for source in read]
        return FUNCTIONS[word](run, *arrays, **settings)
    return all_ops()[word].value(run, Node(word, word, (), attrs=settings), *read)


PROBES = np.concatenate([np.linspace(0.0, 16.0, 4097), 2.0 ** np.arange(5, 21)])


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """As its values say."""
    with np.errstate(all="ignore"):
        values = piecewise(NUMPY_RUNNER, node, np.concatenate([-PROBES, PROBES]) if any(signs) else PROBES)
    return bool(np.any(np.asarray(values) < 0))


OPS = (Op(PIECEWISE, piecewise, table=True, negative=negative, attrs=("steps",)),)
