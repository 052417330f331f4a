"""The table that ``str(recipe)`` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpq_plugins.grid import Grid
from mpq_plugins.inventory import FLOAT_BITS
from mpq_plugins.recipe.float_part import FloatPart, by_reason
from mpq_plugins.recipe.site_grid import SiteGrid

HEADINGS = ("site", "kind", "op", "shape", "bits", "codes", "threshold", "elements", "reason")
RIGHT = ("bits", "elements")


def rows(sites: Iterable[SiteGrid]) -> list[tuple[str, ...]]:
    """One row of text per site, in the columns of HEADINGS."""
    return [
        (
            entry.site,
            entry.kind,
            entry.op,
            " x ".join(map(str, entry.shape)) or "scalar",
            str(entry.grid.bits),
            f"{entry.grid.low}..{entry.grid.high}",
            threshold(entry.grid),
            f"{entry.elements:,}",
            entry.reason,
        )
        for entry in sites
    ]


def threshold(grid: Grid) -> str:
    """The threshold, or the span of them and how many channels have one.

    >>> threshold(Grid.power_of_two(4, -2)), threshold(Grid.power_of_two(4, [-3, 0], axis=0))
    ('2^-2', '2^-3..2^0 (2 channels)')
    """
    if grid.is_power_of_two:
        ordered = [f"2^{exponent}" for exponent in sorted(grid.exponents)]
    else:
        ordered = [f"{step * 2 ** (grid.bits - int(grid.signed)):.6g}" for step in sorted(grid.steps)]
    span = ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]}..{ordered[-1]}"
    return span if grid.channels is None else f"{span} ({grid.channels} channels)"


def align(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Columns as wide as their longest text, two spaces apart.

    >>> print(align(["site", "bits"], [["conv1", "4"]], right=["bits"]))
    site   bits
    -----  ----
    conv1     4
    """
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    rules = ["-" * width for width in widths]
    shown = []
    for line in (headings, rules, *lines):
        cells = [
            text.rjust(width) if heading in right else text.ljust(width)
            for heading, text, width in zip(headings, line, widths, strict=True)
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)


def resources(costs: Mapping[str, float], budget: Mapping[str, float], prices: Mapping[str, float]) -> list[str]:
    """One line per resource: what the recipe costs, what it may cost, and what a unit more would bring.

    >>> resources({"weight_bytes": 600.0}, {"weight_bytes": 800.0}, {})
    ['weight_bytes: 600 of at most 800 (75.0 %)']
    """
    lines = []
    for name in dict.fromkeys((*budget, *costs)):
        line = f"{name}: {costs[name]:,.10g}" if name in costs else f"{name}:"
        if name in budget:
            line += f" of at most {budget[name]:,.10g}" if name in costs else f" at most {budget[name]:,.10g}"
            if name in costs:
                line += f" ({100 * costs[name] / budget[name]:.1f} %)"
        if name in prices:
            line += f", shadow price {prices[name]:.4g}"
        lines.append(line)
    return lines


def floats(parts: Sequence[FloatPart], macs: int, quantized_bytes: float) -> list[str]:
    """What stays float and why, the weights that it holds, and the share of MACs and of weight bytes that is quantized.

    macs: of the whole model, for one sample; 0 where they are not known.

    >>> floats([FloatPart("head", "kept in float", 100, 250), FloatPart("softmax", "no kernel")], 1000, 3000.0)
    ['in float: head: kept in float; softmax: no kernel', 'float weights: 250 elements of 32 bits (head)', \
'quantized: 90.0 % of the MACs, 75.0 % of the weight bytes']
    """
    if not parts:
        return []
    lines = [f"in float: {by_reason(parts)}"]
    holding = [part for part in parts if part.weights]
    elements = sum(part.weights for part in holding)
    if holding:
        lines.append(f"float weights: {elements:,} elements of 32 bits ({', '.join(part.name for part in holding)})")
    every = quantized_bytes + FLOAT_BITS * elements / 8
    if macs and every:
        multiplied = 100 * (1 - sum(part.macs for part in parts) / macs)
        held = 100 * quantized_bytes / every
        lines.append(f"quantized: {multiplied:.1f} % of the MACs, {held:.1f} % of the weight bytes")
    return lines


def remeasured(predicted: Mapping[str, float], measured: Mapping[str, float]) -> list[str]:
    """The latency of the whole model beside the predicted one, where a search has measured it again.

    >>> remeasured({"latency_ms": 0.7}, {"latency_ms": 0.8, "latency_spread_ms": 0.01})
    ['latency of the whole model: measured 0.8 ms +- 0.01, predicted 0.7 ms']
    """
    if "latency_ms" not in measured:
        return []
    spread, thought = measured.get("latency_spread_ms"), predicted.get("latency_ms")
    line = f"latency of the whole model: measured {measured['latency_ms']:.4g} ms"
    line += "" if spread is None else f" +- {spread:.2g}"
    return [line if thought is None else f"{line}, predicted {thought:.4g} ms"]
