"""The table that ``str(recipe)`` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpq_plugins.grid import Grid
from mpq_plugins.inventory import FLOAT_BITS
from mpq_plugins.site_grid import SiteGrid

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


def floats(weights: Mapping[str, int], meta: Mapping[str, str], quantized_bytes: float) -> list[str]:
    """What stays float and why, the weights that it holds, and the share of MACs and of weight bytes that is quantized.

    >>> floats({"head": 250}, {"float_ops": "head, softmax", "quantized_macs": "90.0 %"}, 3000.0)
    ['in float: head, softmax', 'float weights: 250 elements of 32 bits (head)', \
'quantized: 90.0 % of the MACs, 75.0 % of the weight bytes']
    """
    if not meta.get("float_ops") and not weights:
        return []
    lines = [f"in float: {meta.get('float_reasons') or meta['float_ops']}"] if meta.get("float_ops") else []
    if weights:
        lines.append(f"float weights: {sum(weights.values()):,} elements of 32 bits ({', '.join(weights)})")
    if "quantized_macs" in meta:
        every = quantized_bytes + FLOAT_BITS * sum(weights.values()) / 8
        part = 100 * quantized_bytes / every if every else 0.0
        lines.append(f"quantized: {meta['quantized_macs']} of the MACs, {part:.1f} % of the weight bytes")
    return lines


def remeasured(meta: Mapping[str, str]) -> list[str]:
    """The latency of the whole model beside the predicted one, where a search has measured it again.

    >>> remeasured({"latency_predicted_ms": "0.7", "latency_measured_ms": "0.8", "latency_spread_ms": "0.01"})
    ['latency of the whole model: measured 0.8 ms +- 0.01, predicted 0.7 ms']
    """
    if "latency_measured_ms" not in meta:
        return []
    measured, spread, predicted = (meta.get(f"latency_{part}_ms", "?") for part in ("measured", "spread", "predicted"))
    return [f"latency of the whole model: measured {measured} ms +- {spread}, predicted {predicted} ms"]
