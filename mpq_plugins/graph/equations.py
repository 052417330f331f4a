"""Equations of einsum, spelled out."""

from __future__ import annotations

import string


def parsed(equation: str, first: int, second: int) -> tuple[str, str, str] | None:
    """The letters of two operands of so many axes, and of the result; None for what is no matrix product.

    An ellipsis becomes letters. A letter that stands twice in an operand, or in one alone and not in the result, is
    a diagonal or a sum.

    >>> parsed("... q d, ...kd -> ...qk", 4, 4)
    ('ABqd', 'ABkd', 'ABqk')
    >>> parsed("ij,jk", 2, 2)
    ('ij', 'jk', 'ik')
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if len(operands) != 2:
        return None
    free = [letter for letter in string.ascii_uppercase if letter not in equation]
    ranks = zip(operands, (first, second), strict=True)
    counts = [rank - len(own.replace("...", "")) if "..." in own else 0 for own, rank in ranks]
    wide = free[: max(0, *counts)]
    spelled = [own.replace("...", "".join(wide[len(wide) - n :])) for own, n in zip(operands, counts, strict=True)]
    if not arrow:
        once = sorted(x for x in set("".join(spelled)) if "".join(spelled).count(x) == 1 and x not in wide)
        out = "".join((*wide, *once))
    out = out.replace("...", "".join(wide))
    alone = set("".join(spelled)) - set(out) - (set(spelled[0]) & set(spelled[1]))
    twice = any(len(set(own)) != len(own) for own in (*spelled, out))
    known = [len(own) for own in spelled] == [first, second] and set(out) <= set("".join(spelled))
    return None if alone or twice or not known else (spelled[0], spelled[1], out)
