"""Whether real networks compute what they computed when it was recorded, bit for bit.

    python -m benchmarks.oracle --data DIR [--models resnet20 resnet8 mobilenet] [--record]

DIR is laid out as for benchmarks.cifar_ptq and benchmarks.mlperf_tiny_ptq. ResNet-20 (torch), ResNet8 and MobileNetV1
(Keras), with recipes of 4 bits and of mixed bits that come from a seed, not from a search, for all targets that
apply, on real images: as integration_tests.oracle, whose small networks are compared in the tests. The hashes are in
``oracle.json``; what ``constrain`` makes with data is compared on the kind of processor that recorded it only.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from integration_tests.oracle import stored
from integration_tests.oracle.comparing import differences

IMAGES = 64
LARGE_IMAGES = 8
"""Images of 224 x 224, whose values at all sites have to be in memory at once."""
RECORDED, FOLDER = "oracle", Path(__file__).parent
PROCESSOR = "processor"
TORCH_TARGETS = {
    "generic-po2": (0,),
    "generic-po2-per-channel": (2,),
    "torch-x86": (3,),
    "torch-onednn": (4,),
    "torch-qnnpack": (5,),
    "torch-pt2e": (6,),
    "onnxruntime": (7, 8),
    "torch-pt2e-x86": (9,),
}
KERAS_TARGETS = {
    "generic-po2": (0,),
    "litert-po2": (2, 3),
    "litert-po2-reference": (5,),
    "litert-int8": (7,),
    "onnxruntime": (9,),
}

Observed = dict[str, Any]


def resnet20(data: Path) -> Observed:
    """The pretrained ResNet-20 of CIFAR-10, in torch."""
    from benchmarks.cifar import load_images, load_model
    from integration_tests.oracle import torch_case

    model = load_model("resnet20", data)
    images, calibration = (load_images(data, train)[0][:IMAGES].contiguous() for train in (False, True))
    largest = torch_case.largest_exponents(model, (images,))
    rounded = {"torch-x86": 10, "torch-qnnpack": 11}
    return {
        "4 bits": torch_case.observe(model, (images,), TORCH_TARGETS, bits=4, largest=largest),
        "mixed": torch_case.observe(model, (images,), TORCH_TARGETS, largest=largest),
        "constrained": torch_case.constrained(model, (images,), (calibration,), rounded, largest=largest),
    }


def resnet8(data: Path) -> Observed:
    """MLPerf Tiny's ResNet8 of CIFAR-10, in Keras."""
    from benchmarks.keras_models import resnet8 as load

    return _in_keras(load(data, IMAGES), IMAGES)


def mobilenet(data: Path) -> Observed:
    """MobileNetV1 0.75 of ImageNet, in Keras."""
    from benchmarks.keras_models import mobilenet as load

    return _in_keras(load(data, LARGE_IMAGES), LARGE_IMAGES)


def _in_keras(task: Any, count: int) -> Observed:
    from integration_tests.oracle import keras_case

    images = [task.images[:count]]
    largest = keras_case.largest_exponents(task.model, images)
    return {
        "4 bits": keras_case.observe(task.model, images, KERAS_TARGETS, 4, largest),
        "mixed": keras_case.observe(task.model, images, KERAS_TARGETS, None, largest),
        "constrained": keras_case.constrained(task.model, [task.calibration], {"litert-po2": 10}, largest),
    }


MODELS: dict[str, Callable[[Path], Observed]] = {"resnet20": resnet20, "resnet8": resnet8, "mobilenet": mobilenet}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what differs, and exit with 1 where something does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives and the models")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--record", action="store_true", help="write what is found, and print what changed")
    chosen = parser.parse_args(arguments)
    recorded = stored.load(RECORDED, FOLDER)
    same_processor = recorded.get(PROCESSOR) == stored.processor()
    changed = False
    for name in chosen.models:
        start = time.perf_counter()
        found = MODELS[name](chosen.data)
        before = dict(recorded.get(name, {}))
        if not same_processor and not chosen.record:
            before["constrained"] = None
            print(f"{name}, constrained: not compared, since it was recorded on {recorded.get(PROCESSOR)}")
        sentences = differences(before, found, (name,))
        changed = changed or bool(sentences)
        print("\n".join(sentences or [f"{name}: as recorded"]) + f" ({time.perf_counter() - start:.0f} s)", flush=True)
        if chosen.record:
            recorded = {**recorded, PROCESSOR: stored.processor(), name: found}
            stored.save(RECORDED, recorded, FOLDER)
    if changed and not chosen.record:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
