"""How often a model is traced by search, constrain, quantize and verify, and what reading it takes.

    python -m benchmarks.readings --data DIR [--model resnet56]

Prints for each verb how many models it read, how many of these were traced, and the processor's seconds of both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpq_plugins as mpq
from benchmarks.search_once import MODELS
from mpq_torch import fx
from mpq_torch.reader import data, fitting, reading, remembering


class Counted:
    """A function that counts its calls and the processor's seconds in them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls, self.seconds = 0, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.calls += 1
            self.seconds += time.process_time() - start


def main(arguments: list[str] | None = None) -> None:
    """Run the verbs, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="resnet56", choices=[name for name in MODELS if name != "resnet8"])
    chosen = parser.parse_args(arguments)
    _, model, images, options = MODELS[chosen.model](chosen.data)
    images = list(images)[:1]
    traced, read = Counted(remembering.traced_and_observed), Counted(reading.read_model)
    remembering.traced_and_observed = traced
    data.read_model = fitting.read_model = read
    found: dict[str, Any] = {}
    verbs: dict[str, Callable[[], Any]] = {
        "search": lambda: fx.search(
            model,
            images,
            budget=mpq.Budget(average_weight_bits=4),
            activation_bits=8,
            progress=False,
            **options,
        ),
        "constrain": lambda: fx.constrain(model, found["search"], images),
        "quantize": lambda: fx.quantize(found["constrain"], found["search"]),
        "verify": lambda: fx.verify(found["quantize"], found["constrain"], images, found["search"]),
    }
    for verb, run in verbs.items():
        before = (read.calls, traced.calls, read.seconds)
        found[verb] = run()
        print(
            f"{verb}: {read.calls - before[0]} read, {traced.calls - before[1]} traced, "
            f"{read.seconds - before[2]:.2f} s of reading"
        )


if __name__ == "__main__":
    main()
