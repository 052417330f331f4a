"""Samples that a model blows up on are left out of what is measured, and said."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import numpy as np
import pytest

from mpq_plugins.errors import CalibrationWarning
from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.graph.node import ARGUMENT, INPUT, Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NumpyRunner
from mpq_plugins.search import remembered
from mpq_plugins.search.usual import usual


class Arrays(NumpyRunner):
    """What a dense layer takes of a runner."""

    def numpy(self, x):
        return x

    def tensor(self, array, precision=None):
        return np.asarray(array, precision)

    def shared(self, array):
        return array

    def precision_of(self, x):
        return "float32"

    def to_precision(self, x, precision):
        return x

    def matmul(self, x, weight, bias):
        return x @ weight.T + bias

    def take(self, x, indices):
        return x[list(indices)]


def doubling(layers: int = 8) -> Graph:
    """Dense layers of one element that double it, one behind the other."""
    nodes = [Node("x", ARGUMENT, (), (Batch(), 1), attrs={"index": 0}), Node("x__input", INPUT, ("x",), (Batch(), 1))]
    for index in range(layers):
        source = nodes[-1].name
        nodes.append(Node(f"fc{index}", "linear", (source,), (Batch(), 1), np.array([[2.0]]), np.zeros(1)))
    return Graph(tuple(nodes), (nodes[-1].name,), "NCHW")


def chunks(values: np.ndarray) -> list[tuple[np.ndarray]]:
    """Chunks of 32 samples."""
    return [(part.astype(np.float32).reshape(-1, 1),) for part in np.split(values, len(values) // 32)]


def test_one_sample_far_above_all_others_gives_its_place_to_a_neighbour():
    values = np.linspace(1.0, 2.0, 128)
    values[37] = 40.0
    with pytest.warns(CalibrationWarning, match=r"1 of 128 calibration samples left out \(37.*'fc7' 27 times"):
        found = usual(FloatModel(doubling(), Arrays()), chunks(values))
    kept = np.concatenate([chunk[0] for chunk in found]).ravel()
    expected = values.astype(np.float32)
    expected[37] = expected[36]
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("large", [[], [5], [5, 50, 90]], ids=["none", "one of too few", "more than one in 64"])
def test_what_is_no_exception_stays(large):
    values = np.linspace(1.0, 2.0, 32 if len(large) == 1 else 128)
    values[large] = 100.0
    given = chunks(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = usual(FloatModel(doubling(), Arrays()), given)
    assert all(a is b for a, b in zip(found, given, strict=True))


@pytest.mark.parametrize(
    ("change", "looks"),
    [(lambda graph, values: (graph, np.split(values, 4)), 1), (lambda graph, values: (graph, [values + 1.0]), 2),
     (lambda graph, values: (doubling(7), [values]), 2)],
    ids=["other chunks", "other values", "another model"],
)  # fmt: skip
def test_a_model_is_looked_at_once_with_the_same_data(change, looks, monkeypatch):
    monkeypatch.setattr(remembered, "_KNOWN", OrderedDict())
    counted = []

    class Counting(Arrays):
        def matmul(self, x, weight, bias):
            counted.append(len(x))
            return super().matmul(x, weight, bias)

    graph, values = doubling(), np.linspace(1.0, 2.0, 128, dtype=np.float32).reshape(-1, 1)
    other, parts = change(graph, values)
    for each, given in ((graph, [values]), (other, parts)):
        usual(FloatModel(each, Counting()), [(part,) for part in given])
    assert sum(counted) == 128 * (8 if looks == 1 else 8 + len(other.layers))
