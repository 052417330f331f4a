"""What a training step costs in Keras beside TF-MOT's quantize_model: MLPerf Tiny's ResNet8, batch 128.

    python -m benchmarks.keras_training_step --data DIR [--methods hmq ...] [--rounds 5]

DIR holds ``mlperf_tiny_resnet8.h5``; images are random. The least time of a step over rounds of ``fit`` that are
taken in turns; "fixed" trains at the grids of a hardened search.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot

import mpq_plugins as mpq
import mpq_tfmot
from mpq_plugins.training.plan import trainable
from mpq_tfmot.keras import keras

BATCH, STEPS = 128, 5
METHODS = ("msqe", "po2_gradient", "hmq", "sdq", "fdqmp")


class Times(keras.callbacks.Callback):  # type: ignore[misc]
    """The least seconds of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.least = float("inf")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        if batch > 1:
            self.least = min(self.least, now - self._begin)
        self._begin = now


def compiled(model: Any) -> Any:
    """With an optimizer and a loss."""
    model.compile(keras.optimizers.SGD(1e-5), keras.losses.CategoricalCrossentropy())
    return model


def quantized(model: Any, method: str) -> Any:
    """A search at 4 bits on average, or at 4 bits."""
    searches = trainable(method).searches_bits
    bits: Any = (2, 3, 4, 6, 8) if searches else 4
    scheme = mpq_tfmot.QuantizeScheme(method=method, weight_bits=bits, activation_bits=8)
    with mpq_tfmot.quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        return compiled(tfmot.quantization.keras.quantize_apply(annotated, scheme))


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    x = random.random((BATCH * STEPS, 32, 32, 3), np.float32) * 255
    y = np.eye(10, dtype=np.float32)[random.integers(0, 10, len(x))]
    model = keras.models.load_model(options.data / "mlperf_tiny_resnet8.h5")
    budget = mpq.Budget(average_weight_bits=4)
    for method in options.methods:
        needs = budget if trainable(method).searches_bits else None
        searching, fixed = quantized(model, method), quantized(model, method)
        fixed.fit(x, y, BATCH, verbose=0, callbacks=[mpq_tfmot.SearchCallback(needs, observe=1)])
        mpq_tfmot.harden(fixed)
        search = mpq_tfmot.SearchCallback(needs, observe=1, record_every=1000, steps=10**6)
        runs: dict[str, tuple[Any, list[Any]]] = {
            "TF-MOT": (compiled(tfmot.quantization.keras.quantize_model(model)), []),
            "searching": (searching, [search]),
            "fixed": (fixed, []),
        }
        times = {name: Times() for name in runs}
        for _ in range(options.rounds):
            for name, (own, callbacks) in runs.items():
                own.fit(x, y, BATCH, verbose=0, callbacks=[*callbacks, times[name]])
        base = times["TF-MOT"].least
        print(f"{method:14s}", "  ".join(f"{n} {t.least * 1e3:.0f} ms {t.least / base:.2f}" for n, t in times.items()))


if __name__ == "__main__":
    main()
