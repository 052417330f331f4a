"""A measured model of plain arrays that can be run: x -> linear a, ReLU -> linear b, as numbers."""

from __future__ import annotations

import numpy as np

from mpq_plugins import plugins
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.search_input import Problem, candidates_for
from mpq_plugins.thresholds.histogram import Histogram

RNG = np.random.default_rng(11)
X = RNG.normal(size=(40, 6))
WEIGHTS = {"a.weight": RNG.normal(size=(5, 6)), "b.weight": RNG.normal(size=(3, 5))}


class Running:
    """weights are what they are; ``runs`` counts the passes."""

    def __init__(self):
        self.weights = {name: weight.copy() for name, weight in WEIGHTS.items()}
        self.runs = 0
        self.inventory = Inventory(
            [
                Site("x", "activation", "input", (6,)),
                Site("a.weight", "weight", "linear", (5, 6), 30, 0, True, ("x",)),
                Site("a", "activation", "linear", (5,), signed=False, inputs=("x",)),
                Site("b.weight", "weight", "linear", (3, 5), 15, 0, True, ("a",)),
                Site("b", "activation", "linear", (3,), inputs=("a",)),
            ]
        )

    def outputs(self, changes):
        self.runs += 1

        def changed(name, value):
            return changes[name](value.copy()) if name in changes else value

        x = changed("x", X)
        a = changed("a", np.maximum(x @ changed("a.weight", self.weights["a.weight"]).T, 0))
        return (changed("b", a @ changed("b.weight", self.weights["b.weight"]).T),)

    def _values(self):
        a = np.maximum(X @ self.weights["a.weight"].T, 0)
        return {"x": X, "a": a, "b": a @ self.weights["b.weight"].T}

    def weight(self, site):
        return self.weights[site]

    def bias(self, site):
        return np.zeros(len(self.weights[site]))

    def covariance(self, site):
        columns = self._values()[{"a.weight": "x", "b.weight": "a"}[site]]
        return np.cov(columns.T, bias=True)[None]

    def output_fisher(self, site):
        return np.eye(len(self.weights[site])) / 8

    def histogram(self, site):
        histogram = Histogram()
        histogram.update(self._values()[site])
        return histogram

    def gradient_energy(self, site):
        return 1.0


def problem_of(model, budget=None, weight_bits=(2, 4, 8), activation_bits=8, costs=None):
    target = plugins.target("generic-po2")
    candidates = candidates_for(model.inventory, target, weight_bits, activation_bits)
    return Problem(model, target, candidates, budget, costs or plugins.cost_models())
