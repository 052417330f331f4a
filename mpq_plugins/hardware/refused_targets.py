"""Targets that are left out on purpose, and why."""

from __future__ import annotations

REFUSED = {
    "torch-fbgemm": (
        "fbgemm's depthwise convolutions add pairs of products in 16 bits on every processor, and saturate where "
        "no simulation follows; use torch-x86, which runs on the same processors and is exact"
    ),
}
"""By the name that a user may ask for."""
