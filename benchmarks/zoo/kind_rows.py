"""Kinds of networks on every target: one process for each framework goes through them, and a new one after a crash."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.zoo.ours import exactness
from benchmarks.zoo.stock import BY, converted

TARGETS = {
    "torch": ("torch-x86", "torch-pt2e", "onnxruntime", "litert-po2", "generic-po2"),
    "keras": ("litert-po2", "onnxruntime", "generic-po2"),
}
Row = tuple[str, ...]
"""Kind, framework, by what, verdict, share of MACs, seconds, reasons."""


def kinds_of(framework: str) -> Mapping[str, Any]:
    """What builds each kind, by name."""
    if framework == "torch":
        from benchmarks.zoo.torch_kinds import VISION
        from benchmarks.zoo.torch_structures import STRUCTURES
    else:
        from benchmarks.zoo.keras_kinds import VISION
        from benchmarks.zoo.keras_structures import STRUCTURES
    return {build.__name__: build for build in (*VISION, *STRUCTURES)}


def built(framework: str, name: str) -> tuple[Any, Any]:
    """A network of the kind, and what it is called with; norms have seen it."""
    if framework == "keras":
        import tf_keras

        tf_keras.utils.set_random_seed(0)
        model, inputs = kinds_of(framework)[name]()
        for layer in model._flatten_layers(include_self=False):
            if hasattr(layer, "moving_mean"):
                layer.momentum = 0.5
        model(inputs, training=True)
        return model, inputs
    import torch

    torch.manual_seed(0)
    model, inputs = kinds_of(framework)[name]()
    with torch.no_grad():
        model.train()(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    return model.eval(), inputs


def rows(framework: str, wanted: Sequence[tuple[str, str]], sends: Any) -> None:
    """Send a row for each kind and target."""
    warnings.filterwarnings("ignore")
    for name, by in wanted:
        start, macs, reasons = time.perf_counter(), "", ""
        try:
            model, inputs = built(framework, name)
            done = converted if by in sum(BY.values(), ()) else exactness
            arguments = (by, model, inputs) if done is converted else (model, inputs, by)
            verdict, macs, reasons = done(*arguments)  # type: ignore[operator]
        except Exception as error:  # the verdict on a network, whoever raises it
            from mpq_plugins.errors import MPQError

            verdict = "refused" if isinstance(error, MPQError) else "error"
            reasons = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sends.send((name, framework, by, verdict, macs, f"{time.perf_counter() - start:.1f}", reasons))


def found(framework: str, targets: Sequence[str], names: Sequence[str], seconds: float) -> Iterator[Row]:
    """The rows, as they are done. seconds: after which one of them is given up."""
    left = [(name, by) for name in kinds_of(framework) if not names or name in names for by in targets]
    spawned = multiprocessing.get_context("spawn")
    while left:
        receives, sends = spawned.Pipe(duplex=False)
        process = spawned.Process(target=rows, args=(framework, left, sends))
        process.start()
        sends.close()
        try:
            while left and receives.poll(seconds):
                yield receives.recv()
                del left[0]
            if left:
                yield (left[0][0], framework, left[0][1], "given up", "", f"{seconds:.0f}", "")
                del left[0]
        except EOFError:
            process.join()
            yield (left[0][0], framework, left[0][1], "crashed", "", "", f"exit code {process.exitcode}")
            del left[0]
        finally:
            process.kill()
            process.join()
