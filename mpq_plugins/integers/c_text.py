"""The readable parts of a C header: arrays in lines, and what a tensor, a weight or a stage is in words."""

from __future__ import annotations

import textwrap

from mpq_plugins.integers.program import Bias, Tensor, Weight
from mpq_plugins.integers.steps import Clamp, Divide, Multiply, Shift, Significant, Stage

WIDTH = 110
_TIES = {"half_even": "half to even", "half_up": "half up", "half_away": "half away from zero"}


def array(declaration: str, values: list[int]) -> list[str]:
    """The lines of a constant array.

    >>> array("static const int8_t w", [1, -2])
    ['static const int8_t w[2] = {', '    1, -2,', '};']
    """
    lines, line = [], "   "
    for value in values:
        if len(line) + len(str(value)) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return [f"{declaration}[{len(values)}] = {{", *lines, line, "};"]


def describe(item: Tensor | Weight | Bias | Stage) -> str:
    """What something is, in a few words that are safe within a comment.

    >>> describe(Tensor("x", (3, 8, 8), 4, False, -2))
    'x [3, 8, 8], 4 bits unsigned, step 2^-2'
    >>> describe(Shift((5,), "half_even")), describe(Shift((-1,), "half_up")), describe(Clamp(0, 15))
    ('shift right by 5 (half to even)', 'shift left by 1', 'clamp to 0 .. 15')
    """
    if isinstance(item, Tensor):
        sign = "signed" if item.signed else "unsigned"
        return f"{comment(item.name)} {list(item.shape)}, {item.bits} bits {sign}, step {_power((item.exponent,))}"
    if isinstance(item, Weight):
        return f"{comment(item.name)} {list(item.shape)}, {item.bits} bits signed, step {_power(item.exponents)}"
    if isinstance(item, Bias):
        return f"step {_power(item.exponents)}"
    return _stage(item)


def _stage(stage: Stage) -> str:
    if isinstance(stage, Shift):
        low, high = min(stage.amounts), max(stage.amounts)
        if high <= 0:
            return f"shift left by {_span(-high, -low)}"
        return f"shift right by {_span(low, high)} ({_TIES[stage.rounding]})"
    if isinstance(stage, Significant):
        return f"round to {stage.bits} significant bits"
    if isinstance(stage, Multiply):
        return f"multiply by {stage.factor}"
    if isinstance(stage, Divide):
        return f"divide by {stage.count} ({_TIES[stage.rounding]})"
    assert isinstance(stage, Clamp)
    return f"clamp to {stage.low} .. {stage.high}"


def _power(exponents: tuple[int, ...]) -> str:
    low, high = min(exponents), max(exponents)
    return f"2^{low}" if low == high else f"2^{low} .. 2^{high} by channel"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} .. {high} by channel"


def by_channel(weight: Weight) -> list[str]:
    """The exponent of each channel's step, in lines; none where all have one.

    >>> by_channel(Weight("w", (2, 3), 4, (-5, -6)))
    ['exponents by channel: -5 -6']
    """
    if len(weight.exponents) == 1:
        return []
    text = "exponents by channel: " + " ".join(map(str, weight.exponents))
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def comment(text: str) -> str:
    """A text that cannot end the comment that it stands in."""
    return text.replace("*/", "* /").replace("/*", "/ *")
