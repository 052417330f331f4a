"""How onnxruntime rounds each op, against integer arithmetic at every tie: what its target says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mpq_plugins import Grid, plugins
from mpq_plugins.exporters.onnx.running import run, session
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter
from mpq_plugins.hardware.op_support import OPS, WEIGHTED_OPS

SIGNED, UNSIGNED = Grid.power_of_two(8, 0), Grid.power_of_two(8, 1, signed=False)
Build = Callable[[GraphWriter, list[str]], str]


def outputs_of(
    build: Build, sources: Sequence[Grid], grid: Grid, codes: Sequence[np.ndarray], symmetric: bool
) -> list[np.ndarray]:
    """Codes that the op gives for codes of its inputs, with all graph optimizations and with none."""
    writer = GraphWriter(21, symmetric=symmetric)
    inputs: list[Codes] = []
    for i, (source, array) in enumerate(zip(sources, codes, strict=True)):
        x = writer.input(f"x{i}", ["batch", *array.shape[1:]])
        inputs.append(writer.quantize(x, f"x{i}", f"x{i}.codes", source))
    y = writer.quantize(build(writer, [writer.float_of(x) for x in inputs]), "y", "y.codes", grid)
    writer.output("y", y, ["batch", *[None] * (codes[0].ndim - 1)])
    model = writer.model([], {})
    feeds = [(c * source.steps[0]).astype(np.float32) for c, source in zip(codes, sources, strict=True)]
    return [run(session(model, optimized), feeds)[0] / grid.steps[0] for optimized in (True, False)]


def check(build: Build, sources: Sequence[Grid], grid: Grid, codes: Sequence[np.ndarray], expected: np.ndarray) -> None:
    clipped = np.clip(expected, grid.low, grid.high)
    for symmetric in (False, True):
        for got in outputs_of(build, sources, grid, codes, symmetric):
            np.testing.assert_array_equal(got, clipped)


def half_even(numerators: np.ndarray, denominator: int) -> np.ndarray:
    """numerators / denominator, to the nearest integer, ties to the even one, in integers."""
    floor, rest = np.divmod(numerators, denominator)
    return floor + ((2 * rest > denominator) | ((2 * rest == denominator) & (floor % 2 == 1)))


@pytest.mark.parametrize("sources", [(SIGNED, SIGNED), (UNSIGNED, SIGNED), (UNSIGNED, UNSIGNED)])
@pytest.mark.parametrize("coarser", [1, 3, 6])
def test_add_rounds_half_to_even_for_all_pairs_of_codes(sources: tuple[Grid, Grid], coarser: int) -> None:
    a, b = (np.arange(g.low, g.high + 1) for g in sources)
    first, second = np.repeat(a, 256).reshape(-1, 256), np.tile(b, 256).reshape(-1, 256)
    signed = any(g.signed for g in sources)
    # one step of the sources is 1 / 128
    grid = Grid(8, (2.0**-7 * 2**coarser,), signed)
    check(lambda w, x: w.node("Add", x, "sum"), sources, grid, [first, second], half_even(first + second, 2**coarser))


@pytest.mark.parametrize("source", [SIGNED, UNSIGNED])
@pytest.mark.parametrize("window", [(2, 2), (3, 3), (2, 3), (4, 1), (6, 2)])
def test_average_pooling_rounds_half_to_even(source: Grid, window: tuple[int, int]) -> None:
    codes = np.random.default_rng(0).integers(source.low, source.high + 1, (60, 2, 12, 12))
    h, w = window
    blocks = codes.reshape(60, 2, 12 // h, h, 12 // w, w).sum((3, 5))
    pool = {"kernel_shape": [h, w], "strides": [h, w], "count_include_pad": 1}
    check(lambda w, x: w.node("AveragePool", x, "mean", **pool), [source], source, [codes], half_even(blocks, h * w))


# at 14, 28, 56 the integer kernel of GlobalAveragePool moves ties: it multiplies by a reciprocal
@pytest.mark.parametrize(
    ("op", "size"),
    [("GlobalAveragePool", n) for n in (2, 4, 9, 36, 49, 64)] + [("ReduceMean", n) for n in (4, 14, 28, 49, 56)],
)
def test_a_global_mean_rounds_half_to_even_on_both_sides_of_every_tie(op: str, size: int) -> None:
    sums = np.array([code * size + size // 2 + off for code in range(-100, 100) for off in (-1, 0, 1)])
    codes = (sums // size)[:, None] + (np.arange(size) < (sums % size)[:, None])
    codes = codes[:, None, :, None]

    def mean(writer: GraphWriter, x: list[str]) -> str:
        if op == "GlobalAveragePool":
            return writer.node(op, x, "mean")
        return writer.node(op, [*x, writer.constant("axes", [2, 3], "int64")], "mean", keepdims=1)

    check(mean, [SIGNED], SIGNED, [codes], half_even(sums, size)[:, None, None, None])


@pytest.mark.parametrize("exponents", [(3, 3), (2, 1), (0, 3), (-3, -4), (4, 2)])
def test_hardswish_is_rounded_half_to_even_for_all_codes(exponents: tuple[int, int]) -> None:
    source, grid = (Grid.power_of_two(8, e) for e in exponents)
    codes = np.arange(-128, 128)[:, None]
    values = [Fraction(int(c)) * Fraction(source.steps[0]) for c in codes[:, 0]]
    exact = [v * min(max(v + 3, Fraction(0)), Fraction(6)) / 6 / Fraction(grid.steps[0]) for v in values]
    check(
        lambda w, x: w.node("HardSwish", x, "swish"),
        [source],
        grid,
        [codes],
        np.array([round(v) for v in exact])[:, None],
    )


def test_the_target_says_what_was_measured() -> None:
    target: Any = plugins.target("onnxruntime")
    assert (target.runtime.framework, target.runtime.engine) == ("onnxruntime", "cpu")
    for op in set(OPS) - {"mul"}:
        assert target.rounding(op) == "half_even"
        assert [c.bits for c in target.activation_candidates(op, signed=True)] == list(range(2, 9))
    for op in WEIGHTED_OPS:
        assert target.bias(op) == "accumulator"
        assert sorted({c.bits for c in target.weight_candidates(op, vnni=True)}) == list(range(2, 9))
        assert max(c.bits for c in target.weight_candidates(op, vnni=False)) == 7
    assert target.accumulator_bits == 32
