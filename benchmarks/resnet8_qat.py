"""MLPerf Tiny's ResNet8 trained at low precision on CIFAR-10, by TF-MOT's own verbs and model.fit, down to LiteRT.

    python -m benchmarks.resnet8_qat --data DIR [--method hmq sdq] [--bits 4] [--search-epochs 6]
        [--finetune-epochs 3] [--per-tensor] [--unfolded] [--rate 0.00003] [--seed 0] [--steps N]

DIR holds ``cifar-10-batches-py`` (the public archive) and ``mlperf_tiny_resnet8.h5``. The search starts from the
pretrained network, weights of 2 to 8 bits under a budget of average bits, activations of 8 bits, trained with
Adam on shifted and mirrored images; after it bits and thresholds are fixed and the network trains on. Accuracy is
top-1 on the 10,000 test images: of the float model, at the end of the search, hardened, finetuned, and in LiteRT.
Folded batch norms leave weights of very different sizes, which Adam at 0.0005 ruins within a few steps; with
``--unfolded`` such a rate is right. ``--steps`` cuts every epoch to so many steps, to try things out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
from numpy.typing import NDArray

import mpq_plugins as mpq
import mpq_tfmot
from benchmarks.keras_models import Task, cifar10, resnet8
from mpq_plugins.exporters.litert.running import run_litert
from mpq_plugins.terminal.silence import silenced
from mpq_tfmot.keras import keras, tf

BATCH = 128
CALIBRATION = 16


def batches(images: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> Any:
    """An endless stream of shuffled batches, each image shifted by up to four pixels and mirrored at random."""

    def varied(index: Any, sample: tuple[Any, Any]) -> tuple[Any, Any]:
        image, label = sample
        padded = tf.image.resize_with_crop_or_pad(image, 40, 40)
        cropped = tf.image.stateless_random_crop(padded, (32, 32, 3), (seed, index))
        return tf.image.stateless_random_flip_left_right(cropped, (seed + 1, index)), label

    samples = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed).repeat()
    return samples.enumerate().map(varied, num_parallel_calls=1).batch(BATCH).prefetch(2)


def run(task: Task, data: Path, method: str, options: argparse.Namespace) -> None:
    """One method: search, harden, finetune, convert, verify; prints a row."""
    keras.utils.set_random_seed(options.seed)
    images, labels = cifar10(data)
    per_epoch = options.steps or len(images) // BATCH
    budget = mpq.Budget(average_weight_bits=options.bits)
    scheme = mpq_tfmot.QuantizeScheme(
        method=method,
        weight_bits=(2, 3, 4, 5, 6, 7, 8),
        per_channel=not options.per_tensor,
        fold_batch_norms=not options.unfolded,
        signed_inputs=False,
        seed=options.seed,
    )
    with mpq_tfmot.quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(task.model)
        model = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    epochs = options.search_epochs + options.finetune_epochs
    rate = keras.optimizers.schedules.CosineDecay(options.rate, per_epoch * epochs)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    stream = batches(images, labels, options.seed)
    callback = mpq_tfmot.SearchCallback(budget)
    search_seconds = trained(model, stream, per_epoch, 0, options.search_epochs, [callback])
    searched = accuracy(task, model.predict(task.images, verbose=0))
    recipe = mpq_tfmot.harden(model)
    hardened = accuracy(task, mpq_tfmot.simulate(model, recipe).predict(task.images))
    fixed_seconds = trained(model, stream, per_epoch, options.search_epochs, epochs, [])
    recipe = mpq_tfmot.harden(model)
    simulated = mpq_tfmot.simulate(model, recipe)
    finetuned = accuracy(task, simulated.predict(task.images))
    flat = mpq_tfmot.litert.export(model, recipe)
    converted = accuracy(task, run_litert(flat, task.images)[0])
    verification = mpq_tfmot.verify(flat, simulated, task.images[:1000])
    print(recipe)
    print(
        f"{method}, average {recipe.average_weight_bits:.2f} bits, seed {options.seed}: search {searched:.2f} %, "
        f"hardened {hardened:.2f} %, finetuned {finetuned:.2f} %, LiteRT {converted:.2f} % ({verification}); "
        f"{search_seconds:.3f} s per search step, {fixed_seconds:.3f} s per fixed step, {len(flat):,} bytes",
        flush=True,
    )


def trained(model: Any, stream: Any, per_epoch: int, first: int, last: int, callbacks: list[Any]) -> float:
    """Train from epoch ``first`` to ``last``; returns the seconds of a step, without those that trace."""
    times = _StepTimes()
    model.fit(
        stream,
        initial_epoch=first,
        epochs=last,
        steps_per_epoch=per_epoch,
        verbose=2,
        callbacks=[*callbacks, times],
    )
    return float(np.median(times.seconds)) if times.seconds else float("nan")


class _StepTimes(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds between the ends of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def accuracy(task: Task, outputs: NDArray[Any]) -> float:
    """Top-1 in per cent."""
    return 100.0 * float((outputs.argmax(1) == task.labels).mean())


def main() -> None:
    """Print a recipe and a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", nargs="+", default=["hmq", "sdq"])
    parser.add_argument("--bits", type=float, default=4.0)
    parser.add_argument("--search-epochs", type=int, default=6)
    parser.add_argument("--finetune-epochs", type=int, default=3)
    parser.add_argument("--per-tensor", action="store_true")
    parser.add_argument("--unfolded", action="store_true")
    parser.add_argument("--rate", type=float, default=3e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    with silenced("stderr"):
        task = resnet8(options.data, CALIBRATION)
    print(f"float {accuracy(task, task.model.predict(task.images, verbose=0)):.2f} %", flush=True)
    for method in options.method:
        run(task, options.data, method, options)


if __name__ == "__main__":
    main()
