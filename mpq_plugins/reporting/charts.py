"""Charts as SVG that stretches with the page, with their text beside it as HTML, which does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mpq_plugins.reporting.markup import Html, join, tag, text

Tick = tuple[float, str]
"""A place along an axis, 0 .. 1 from left or from below, and its label."""


@dataclass(frozen=True)
class Column:
    """A column of a chart. height: 0 .. 1. label: said when it is pointed at. kind: "weight" or "activation"."""

    height: float
    label: str
    kind: str
    below: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points (x, y), each 0 .. 1. marked: index of the point with a dot. kind: its style."""

    points: Sequence[tuple[float, float]]
    label: str
    kind: str = "faint"
    marked: int | None = None


def columns(label: str, bars: Sequence[Column], y: Sequence[Tick], x: Sequence[Tick] = (), split: float = 0.0) -> Html:
    """Columns side by side; those that are ``below`` hang from the line at height ``split``."""
    width = 100 / max(1, len(bars))
    marks = []
    for index, bar in enumerate(bars):
        tall = 100 * bar.height * (split if bar.below else 1 - split)
        top = 100 * (1 - split) if bar.below else 100 * (1 - split) - tall
        shape = {"x": _number(index * width + width * 0.12), "width": _number(width * 0.76)}
        rectangle = tag("rect", tag("title", bar.label), **shape, y=_number(top), height=_number(tall), class_=bar.kind)
        marks.append(rectangle)
    return _frame(label, join(marks), y, x)


def lines(
    label: str,
    drawn: Sequence[Line],
    y: Sequence[Tick],
    x: Sequence[Tick],
    small: bool = False,
    mark: float | None = None,
) -> Html:
    """Lines over one another. mark: a place on the x axis that is marked with an upright line."""
    marks = []
    if mark is not None:
        marks.append(tag("path", d=f"M{_number(100 * mark)} 0V100", class_="mark"))
    for line in drawn:
        path = "".join(
            f"{'L' if i else 'M'}{_number(100 * px)} {_number(100 - 100 * py)}"
            for i, (px, py) in enumerate(line.points)
        )
        marks.append(tag("path", tag("title", line.label), d=path, class_=f"line {line.kind}"))
        if line.marked is not None:
            px, py = line.points[line.marked]
            dot = f"M{_number(100 * px)} {_number(100 - 100 * py)}h0"  # a point that round caps make a dot
            marks.append(tag("path", tag("title", line.label), d=dot, class_=f"dot {line.kind}"))
    return _frame(label, join(marks), y, x, small)


def log_ticks(low: float, high: float, most: int = 5) -> list[Tick]:
    """Powers of ten between two positive numbers, at most so many.

    >>> log_ticks(0.5, 200.0)
    [(0.11568910657987959, '1'), (0.5, '10'), (0.8843108934201204, '100')]
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    return [(log_place(10.0**e, low, high), _power(e)) for e in range(first, last + 1, step)]


def log_place(value: float, low: float, high: float) -> float:
    """Where a positive value lies between two others on a logarithmic axis, 0 .. 1."""
    if high <= low:
        return 0.5
    return min(1.0, max(0.0, math.log(value / low) / math.log(high / low)))


def linear_ticks(high: float, most: int = 4, unit: str = "") -> list[Tick]:
    """Round numbers from 0 to ``high``.

    >>> linear_ticks(800.0)
    [(0.0, '0'), (0.25, '200'), (0.5, '400'), (0.75, '600'), (1.0, '800')]
    """
    if high <= 0:
        return [(0.0, "0")]
    raw = high / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    count = math.floor(high / step + 1e-9)
    return [(i * step / high, f"{short(i * step)}{unit}") for i in range(count + 1)]


def group_ticks(names: Sequence[str], places: Sequence[int] = (), most: int = 9) -> list[Tick]:
    """Labels below columns: the names that sites share up to their first dot, or else places in the network.

    places: of the names; by default they are all that there are.

    >>> group_ticks(["conv1", "layer1.0.conv1", "layer1.0.conv2", "fc"])
    [(0.125, 'conv1'), (0.5, 'layer1'), (0.875, 'fc')]
    """
    total = len(names)
    runs: list[tuple[str, int, int]] = []
    for index, name in enumerate(names):
        prefix = name.removesuffix(".weight").split(".")[0]
        if runs and runs[-1][0] == prefix:
            runs[-1] = (prefix, runs[-1][1], index + 1)
        else:
            runs.append((prefix, index, index + 1))
    if len(runs) > most:
        step = max(1, round(total / 8))
        numbers = places or range(1, total + 1)
        return [((i + 0.5) / total, str(numbers[i])) for i in range(0, total, step)]
    ticks: list[Tick] = []
    for prefix, start, stop in runs:
        place = (start + stop) / 2 / total
        room = 0.024 * (len(prefix) + len(ticks[-1][1])) / 2 if ticks else 0.0  # on a phone
        if not ticks or place - ticks[-1][0] >= room:
            ticks.append((place, prefix))
    return ticks


def short(value: float) -> str:
    """A number in few characters.

    >>> short(1151367168.0), short(134128.0), short(0.25), short(64.0)
    ('1.15 G', '134 k', '0.25', '64')
    """
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            scale = 1e3 if letter == " k" else size
            return f"{value / scale:.3g}{letter}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _frame(label: str, marks: Html, y: Iterable[Tick], x: Iterable[Tick], small: bool = False) -> Html:
    grid = join(tag("path", d=f"M0 {_number(100 - 100 * place)}H100", class_="grid") for place, _ in y)
    picture = tag(
        "svg",
        tag("title", label),
        grid,
        marks,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    left = join(tag("span", name, style=f"bottom:{_number(100 * place)}%") for place, name in y)
    below = join(tag("span", name, style=f"left:{_number(100 * place)}%") for place, name in x)
    axes = tag("div", left, class_="y", aria_hidden="true"), tag("div", below, class_="x", aria_hidden="true")
    return tag("div", axes[0], picture, axes[1], class_="chart small" if small else "chart")


def _power(exponent: int) -> Html:
    if -2 <= exponent <= 4:
        return text(f"{10.0**exponent:,.10g}")
    return Html(f"10<sup>{exponent}</sup>".replace("-", "−"))


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
