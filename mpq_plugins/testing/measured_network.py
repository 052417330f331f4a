"""A measured model of plain arrays: x -> layer a, ReLU -> layer b. What a post-training method is run on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpq_plugins.hardware.op_support import WEIGHTED_OPS
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.search_input import Change
from mpq_plugins.testing.sample_inventory import has_weight, ops_of, weight_shape
from mpq_plugins.thresholds.histogram import Histogram

FRAMEWORK = "plain arrays"
SAMPLES, INPUTS, HIDDEN, OUTPUTS = 48, 6, 5, 3
FIRST_CHOICE = ("linear", "conv2d", "conv1d")


class MeasuredNetwork:
    """A problem.RunnableModel, of 32-bit reals everywhere.

    op: the word of both layers, which computes as a linear layer, or one at a single position. signed: whether
    values below zero occur. nan: whether the first weight holds one.

    >>> network = MeasuredNetwork("linear")
    >>> network.outputs({})[0].shape, network.inventory["b.weight"].shape
    ((48, 3), (3, 5))
    """

    def __init__(self, op: str, signed: bool = True, nan: bool = False) -> None:
        random = np.random.default_rng(11)

        def draw(*shape: int) -> Array:
            values = random.normal(size=shape)
            return values if signed else np.abs(values)

        self._x, first = draw(SAMPLES, INPUTS), draw(HIDDEN, INPUTS)
        self._weights = {"a.weight": first, "b.weight": draw(OUTPUTS, HIDDEN)}
        kernel = (1,) * (len(weight_shape(op)) - 2)
        self.inventory = Inventory(
            [
                Site("x", "activation", "input", (INPUTS, *kernel), signed=signed),
                Site("a.weight", "weight", op, (HIDDEN, INPUTS, *kernel), HIDDEN * INPUTS, 0, True, ("x",)),
                Site("a", "activation", op, (HIDDEN, *kernel), signed=False, inputs=("x",)),
                Site("b.weight", "weight", op, (OUTPUTS, HIDDEN, *kernel), OUTPUTS * HIDDEN, 0, True, ("a",)),
                Site("b", "activation", op, (OUTPUTS, *kernel), signed=signed, inputs=("a",)),
            ],
            live=[("x", "a"), ("a", "b")],
        )
        self._values = self._run({})
        if nan:
            first[0, 0] = np.nan

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """What b gives with some tensors changed."""
        return (self._run(changes)["b"],)

    def weight(self, site: str) -> Array:
        """[out, in]."""
        return self._weights[site]

    def bias(self, site: str) -> Array:
        """Zeros, [out]."""
        return np.zeros(len(self._weights[site]))

    def covariance(self, site: str) -> Array:
        """[1, in, in]."""
        return np.cov(self._values["x" if site == "a.weight" else "a"].T, bias=True)[None]

    def output_fisher(self, site: str) -> Array:
        """[out, out]."""
        return np.eye(len(self._weights[site])) / 8

    def histogram(self, site: str) -> Histogram:
        """Of all samples."""
        histogram = Histogram()
        histogram.update(self._values[site])
        return histogram

    def gradient_energy(self, site: str) -> float:
        """One."""
        return 1.0

    def _run(self, changes: Mapping[str, Change]) -> dict[str, Array]:
        def at(name: str, value: Array) -> Array:
            return changes[name](value.copy()) if name in changes else value

        x = at("x", self._x)
        a = at("a", np.maximum(x @ at("a.weight", self._weights["a.weight"]).T, 0.0))
        return {"x": x, "a": a, "b": at("b", a @ at("b.weight", self._weights["b.weight"]).T)}


def network_for(target: Target, nan: bool = False) -> MeasuredNetwork | None:
    """The network on an op of the target that has a weight, linear if it has it; None where it has none."""
    weighted = [op for op in ops_of(target) if has_weight(target, op)]
    plain = [op for op in weighted if op not in WEIGHTED_OPS or ("depthwise" not in op and "transpose" not in op)]
    op = next((op for op in (*FIRST_CHOICE, *plain) if op in weighted), None)
    if op is None:
        return None
    grids = [target.support(name).activation for name in ("input", op)]
    return MeasuredNetwork(op, all(g is None or g.signed for g in grids), nan)
