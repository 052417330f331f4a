"""What the reader of files asks of the dataclasses of a program."""

from __future__ import annotations

from typing import Any

STRICT: Any = {"extra": "forbid", "strict": True}
"""No unknown fields, no converted types."""
