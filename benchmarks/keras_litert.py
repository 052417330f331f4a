"""Keras files as .tflite files of integer ops: outputs that differ from the simulation, packed and not, by bits.

    python -m benchmarks.keras_litert MODEL.h5 ... [--bits 4] [--inputs 64] [--kernels xnnpack]

Weights of so many bits, activations of 8; inputs are drawn between 0 and 1, for half of which the thresholds are found
and the weights compensated. Every output code of the file in LiteRT's interpreter is compared. Exits with 1 where one
differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mpq_tfmot
from benchmarks.torch_litert import TARGETS
from mpq_tfmot.keras import keras


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--bits", type=int, nargs="+", default=(4,))
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--kernels", choices=TARGETS, default="xnnpack")
    asked = parser.parse_args(arguments)
    wrong = 0
    for file in asked.files:
        model = keras.models.load_model(file, compile=False)
        x = np.random.default_rng(0).random((asked.inputs, *model.input_shape[1:]), dtype=np.float32)
        calibration, target = x[: asked.inputs // 2], TARGETS[asked.kernels]
        for bits in asked.bits:
            recipe = mpq_tfmot.search(model, calibration, target, weight_bits=bits, activation_bits=8, progress=False)
            on_grid = mpq_tfmot.constrain(model, recipe, calibration)
            for pack in (True, False):
                flat = mpq_tfmot.litert.export(on_grid, recipe, pack=pack)
                found = mpq_tfmot.litert.verify(flat, on_grid, x, recipe)
                wrong += found.mismatched
                print(
                    f"{file.name:26} {bits} bits, {'packed' if pack else 'unpacked':8}: {found.mismatched} of "
                    f"{found.elements} outputs differ, {len(flat):,} bytes",
                    flush=True,
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
