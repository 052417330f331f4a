"""The Keras models of the LiteRT benchmark with their images, in the layouts of their public archives."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_tfmot.keras import keras

IC01 = "ic01_indices_into_cifar10_test.npy"
RESNET8 = "mlperf_tiny_resnet8.h5"
MOBILENET = "mobilenet_v1_0.75_224.h5"


@dataclass(frozen=True)
class Task:
    """A pretrained model, images to calibrate it on, and others to score it on.

    subsets: name -> indices into the test images that are scored by themselves.
    """

    model: Any
    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    subsets: dict[str, NDArray[np.int64]]

    def scores(self, outputs: NDArray[Any]) -> str:
        """Top-1 in per cent on all test images, and on each subset."""
        hits = outputs.argmax(1) == self.labels
        return " / ".join(f"{100 * hits[part].mean():.2f}" for part in (slice(None), *self.subsets.values()))


def resnet8(data: Path, calibration: int) -> Task:
    """MLPerf Tiny's ResNet8 on CIFAR-10: raw RGB of 0 .. 255."""
    images, labels = _cifar(data, "test_batch")
    indices = np.load(data / IC01) if (data / IC01).exists() else None
    return Task(
        keras.models.load_model(data / RESNET8, compile=False),
        _cifar(data, "data_batch_1")[0][:calibration],
        images,
        labels,
        {} if indices is None else {"ic01": indices},
    )


def mobilenet(data: Path, calibration: int) -> Task:
    """MobileNetV1 0.75 on the sample images of ImageNet: even ones to calibrate on, odd ones to score."""
    folder = data / "imagenet-samples"
    raw, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    images = raw.astype(np.float32) / 127.5 - 1
    order = np.random.default_rng(0).permutation(len(images))
    seen, scored = order[: len(order) // 2], order[len(order) // 2 :]
    model = keras.models.load_model(data / MOBILENET, compile=False)
    return Task(model, images[seen[:calibration]], images[scored], labels[scored], {})


def cifar10(data: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 50,000 training images of CIFAR-10, [N, 32, 32, 3] of 0 .. 255, and their labels."""
    parts = [_cifar(data, f"data_batch_{index}") for index in range(1, 6)]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _cifar(data: Path, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with open(data / "cifar-10-batches-py" / name, "rb") as file:
        batch = pickle.load(file, encoding="bytes")
    rows = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return rows.transpose(0, 2, 3, 1).astype(np.float32), np.asarray(batch[b"labels"], dtype=np.int64)


TASKS: dict[str, Callable[[Path, int], Task]] = {"resnet8": resnet8, "mobilenet": mobilenet}
