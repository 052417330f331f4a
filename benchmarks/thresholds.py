"""Speed and memory of the threshold search against the straightforward NumPy double loop.

``python -m benchmarks.thresholds`` runs everything on this machine, best of several runs, baseline and
subject in turn, and checks every entry of every table that it times against float64 brute force. With numba
installed (``pip install 'mpq-plugins[fast]'``) the table is compiled, unless ``--plain`` is given.
Times are CPU times of one thread: what else the machine does counts for little.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_plugins.grid import Grid
from mpq_plugins.thresholds import compiled
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table, search_threshold

BITS = range(2, 9)
EXPONENTS = range(-7, 1)


def double_loop(x: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Mean squared error of every candidate, as one writes it down: in the tensor's own precision."""
    table = []
    for bits in BITS:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        for exponent in EXPONENTS:
            step = x.dtype.type(2.0 ** (exponent - bits + 1))
            projected = np.clip(np.rint(x / step), low, high) * step
            table.append(np.mean((x - projected) ** 2, axis=axes))
    return np.array(table)


def exact_loop(x: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """The same candidates through Grid.project, in float64: what every entry must equal."""
    wide = x.astype(np.float64)
    table = [np.mean((wide - Grid.power_of_two(b, e).project(wide)) ** 2, axis=axes) for b in BITS for e in EXPONENTS]
    return np.array(table).reshape(len(BITS), len(EXPONENTS), *np.shape(table[0]))


def seconds(*functions: Callable[[], Any], repeats: int) -> list[float]:
    """Best time of each function, taken in turn so that a busy machine is busy for all of them."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.thread_time()
            function()
            best[i] = min(best[i], time.thread_time() - start)
    return best


def peak_bytes(function: Callable[[], Any]) -> int:
    """Largest memory that NumPy held at once for the call, beyond what was there before."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def largest_difference(found: np.ndarray, exact: np.ndarray) -> float:
    """Largest relative difference of any entry."""
    return float(np.max(np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)))


def report_table(name: str, x: np.ndarray, axis: int | None, repeats: int) -> None:
    """One line: time, ratio to the double loop, memory, and the check against brute force."""
    axes = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    ours, plain = seconds(lambda: error_table(x, axis=axis), lambda: double_loop(x, axes), repeats=repeats)
    difference = largest_difference(error_table(x, axis=axis).error, exact_loop(x, axes))
    memory = peak_bytes(lambda: error_table(x, axis=axis)) / x.nbytes
    print(
        f"{name:<34}{plain * 1e3:>10.1f}{ours * 1e3:>10.2f}{plain / ours:>9.1f}x{memory:>9.2f}x"
        f"{x.nbytes / ours / 1e9:>8.2f}{difference:>12.1e}"
    )
    if difference > 1e-11:
        raise SystemExit(f"{name}: an entry differs from brute force by a factor of {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--elements", type=int, default=4_000_000, help="size of the large tensor")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--plain", action="store_true", help="NumPy alone, even where numba is installed")
    options = parser.parse_args()
    if options.plain:
        compiled.WORTH_LOADING = options.elements + 1
    way = "compiled by numba" if compiled.is_worth_it(options.elements) else "NumPy alone"
    rng = np.random.default_rng(0)
    x = (0.25 * rng.standard_normal(options.elements)).astype(np.float32)
    convolution = (0.05 * rng.standard_normal((64, 64, 3, 3))).astype(np.float32)
    wide = (0.05 * rng.standard_normal((512, 512, 3, 3))).astype(np.float32)
    depthwise = (0.3 * rng.standard_normal((960, 1, 3, 3))).astype(np.float32)

    print(f"error_table, bits 2..8 x 8 thresholds = {len(BITS) * len(EXPONENTS)} grids, mse, float32, {way}")
    print(f"{'':<34}{'loop ms':>10}{'ms':>10}{'ratio':>10}{'memory':>10}{'GB/s':>8}{'max diff':>12}")
    report_table(f"{options.elements / 1e6:g} million, per tensor", x, None, options.repeats)
    channels = x[: options.elements // 64 * 64].reshape(64, -1)
    report_table("the same as 64 channels", channels, 0, options.repeats)
    report_table("[512, 512, 3, 3] per channel", wide, 0, options.repeats)
    report_table("[64, 64, 3, 3] per tensor", convolution, None, 5 * options.repeats)
    report_table("[64, 64, 3, 3] per channel", convolution, 0, 5 * options.repeats)
    report_table("[960, 1, 3, 3] per channel", depthwise, 0, 5 * options.repeats)

    target = np.empty_like(x)
    weights = np.abs(x)
    work: dict[str, Callable[[], Any]] = {
        "plain copy": lambda: np.copyto(target, x),
        "error_table mse": lambda: error_table(x),
        "error_table mae": lambda: error_table(x, metric="mae"),
        "error_table mse, weighted": lambda: error_table(x, weights=weights),
        "error_table kl": lambda: error_table(x, metric="kl"),
        "search_threshold 4 bits": lambda: search_threshold(x, 4),
        "Histogram.update": lambda: Histogram().update(x),
    }
    times = seconds(*work.values(), repeats=options.repeats)
    print(f"\n{'one call on the large tensor':<34}{'ms':>10}{'GB/s':>10}{'Melem/s':>10}{'of copy':>10}")
    for name, taken in zip(work, times, strict=True):
        # a copy reads and writes: it moves every byte twice
        moved = x.nbytes * (2 if name == "plain copy" else 1)
        print(
            f"{name:<34}{taken * 1e3:>10.2f}{moved / taken / 1e9:>10.2f}{x.size / taken / 1e6:>10.0f}"
            f"{moved / taken / (2 * x.nbytes / times[0]):>10.1%}"
        )

    histogram = Histogram()
    histogram.update(x)
    (read,) = seconds(lambda: error_table(histogram), repeats=5 * options.repeats)
    difference = largest_difference(error_table(histogram).error, exact_loop(x))
    print(f"\nerror_table of the histogram: {read * 1e3:.2f} ms, max diff {difference:.1e} from brute force")
    if difference > 1e-11:
        raise SystemExit("the histogram's table differs from brute force")


if __name__ == "__main__":
    main()
