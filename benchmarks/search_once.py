"""One search of one model, by whatever version of the project runs this text; prints grids and seconds as JSON.

``benchmarks.against`` gives this text to Python inside a checkout of each version. What is imported here has to
exist in old versions too, so it keeps to the public functions.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mpq_plugins as mpq

CALIBRATION, BATCH = 256, 64
SEED, NORM_PASSES = 56, 4

Case = tuple[Callable[..., Any], Any, Any, dict[str, Any]]


def resnet20(data: Path) -> Case:
    """The pretrained ResNet-20 of CIFAR-10, per tensor at 4 bits."""
    from benchmarks.cifar import load_model

    return _in_torch(load_model("resnet20", data), data, per_channel=False)


def resnet20_channels(data: Path) -> Case:
    """The same with a step for every channel."""
    from benchmarks.cifar import load_model

    return _in_torch(load_model("resnet20", data), data, per_channel=True)


def resnet56(data: Path) -> Case:
    """A ResNet-56 of drawn weights, whose batch norms have seen some batches."""
    import torch

    from benchmarks.cifar import CifarResNet, load_images

    model, rng = CifarResNet(9), np.random.default_rng(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                deviation = (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape)) * deviation))
        for batch in load_images(data, train=True)[0][: NORM_PASSES * BATCH].split(BATCH):
            model(batch)
    return _in_torch(model.eval(), data, per_channel=False)


def resnet8(data: Path) -> Case:
    """MLPerf Tiny's ResNet8 of CIFAR-10, in Keras."""
    import mpq_tfmot
    from benchmarks.keras_models import resnet8 as load

    task = load(data, CALIBRATION)
    return mpq_tfmot.search, task.model, task.calibration, {"target": "litert-po2"}


def _in_torch(model: Any, data: Path, per_channel: bool) -> Case:
    from benchmarks.cifar import load_images
    from mpq_torch import fx

    images = load_images(data, train=True)[0][:CALIBRATION].split(BATCH)
    return fx.search, model, images, {"target": "torch-x86", "per_channel": per_channel}


MODELS = {"resnet20": resnet20, "resnet20_channels": resnet20_channels, "resnet56": resnet56, "resnet8": resnet8}


def main() -> None:
    """Search the model that the arguments name."""
    name, data = sys.argv[1:]
    search, model, calibration, options = MODELS[name](Path(data))
    start = time.perf_counter()
    recipe = search(
        model, calibration, budget=mpq.Budget(average_weight_bits=4), activation_bits=8, progress=False, **options
    )
    seconds = time.perf_counter() - start
    grids = {site: [grid.bits, list(grid.steps), grid.signed, grid.narrow, grid.axis] for site, grid in recipe.items()}
    print(json.dumps({"seconds": seconds, "from": mpq.__file__, "grids": grids}))


if __name__ == "__main__":
    main()
