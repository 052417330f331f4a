"""JSON that people read: what is short stands on one line, and equal values give equal bytes."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 110


def dumps(value: Any) -> str:
    """JSON text with a newline at its end; keys in the order given, floats exact (repr).

    A list of plain values stays on one line however long it is. Raises ValueError on NaN or infinity.

    >>> print(dumps({"name": "conv1", "shape": [16, 3, 3, 3]}), end="")
    {"name": "conv1", "shape": [16, 3, 3, 3]}
    """
    return _text(value, 0) + "\n"


def _text(value: Any, depth: int) -> str:
    flat = json.dumps(value, allow_nan=False, ensure_ascii=False)
    plain_list = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
    if not isinstance(value, list | dict) or plain_list or len(flat) + 2 * depth <= WIDTH:
        return flat
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, list):
        items = [inner + _text(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(items) + f"\n{outer}]"
    items = [
        f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {_text(item, depth + 1)}" for key, item in value.items()
    ]
    return "{\n" + ",\n".join(items) + f"\n{outer}}}"
