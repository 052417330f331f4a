"""The demo that every adapter runs: a small network on scikit-learn's digits, at 4 and at 3 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import PluginError

if TYPE_CHECKING:
    from rich.table import Table

AVERAGE_BITS = (4.0, 3.0)
TRAIN_IMAGES = 1300
CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 8 x 8 digits, scaled to 0 .. 1: images float32 [N, 8, 8], labels int64 [N]."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class DemoRow:
    """One quantized model of the demo. Accuracies are per cent; seconds are of search and conversion."""

    average_bits: float
    float_accuracy: float
    simulated_accuracy: float
    converted_accuracy: float
    verification: str
    weight_bytes: float
    float_bytes: float
    seconds: float


def digits() -> Digits:
    """The data of the demo, split once and for all. Raises PluginError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise PluginError(
            "the demo reads scikit-learn's digits; install it with: pip install 'mpq-plugins[demo]'"
        ) from None
    data: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images[order] / 16.0).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    return Digits(images[:TRAIN_IMAGES], labels[:TRAIN_IMAGES], images[TRAIN_IMAGES:], labels[TRAIN_IMAGES:])


def table(rows: Sequence[DemoRow], runtime: str) -> Table:
    """The rows as the table that ``mpq demo`` prints; ``runtime`` names what ran the converted model."""
    from rich.box import SIMPLE
    from rich.table import Table

    shown = Table(title=f"digits; power-of-two, 8-bit activations; on {runtime}", title_justify="left", box=SIMPLE)
    for heading in ("bits", "float %", "simulated %", "int8 %", "int8 = simulation", "weight bytes", "seconds"):
        shown.add_column(heading, justify="left" if "=" in heading else "right")
    for row in rows:
        shown.add_row(
            f"{row.average_bits:.2f}",
            f"{row.float_accuracy:.2f}",
            f"{row.simulated_accuracy:.2f}",
            f"{row.converted_accuracy:.2f}",
            row.verification,
            f"{row.weight_bytes:,.0f} of {row.float_bytes:,.0f}",
            f"{row.seconds:.1f}",
        )
    return shown
