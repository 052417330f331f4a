"""What a training step costs beside torch.ao's QAT: operations, host reads, and time.

    python -m benchmarks.training_step [--data FOLDER] [--methods hmq ...] [--depth 20] [--time]

Operations are those that TorchDispatchMode sees in forward, backward, optimizer and search.step() of a CIFAR
ResNet: average_weight_bits 3, activations 8, one step per tensor, batch 8, SGD with foreach=False. "bodies"
counts what our own ops consist of on an accelerator too. They need neither a GPU nor a clock.
"""

from __future__ import annotations

import argparse
import collections
import copy
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import mpq_plugins as mpq
from benchmarks.cifar import CifarResNet
from mpq_plugins.training.plan import trainable
from mpq_torch import fx

METHODS = ("msqe", "po2_gradient", "hmq", "sdq", "fdqmp")
HOST_READ = "aten._local_scalar_dense.default"


class Counter(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(function)] += 1
        return function(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.seen.values())


class Training:
    """A model, an optimizer, and what goes with them at every step. hardened: at fixed grids."""

    def __init__(self, model: nn.Module, search: fx.Search | None = None) -> None:
        self.model, self.search = model, search
        groups = [{"params": list(model.parameters())}] if search is None else search.parameter_groups(1e-4)
        self.optimizer = torch.optim.SGD(groups, lr=1e-4, momentum=0.9, foreach=False)

    def step(self, x: Tensor, y: Tensor) -> None:
        """One optimizer step."""
        loss = F.cross_entropy(self.model(x), y)
        if self.search is not None:
            loss = loss + self.search.penalty()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.search is not None:
            self.search.step()


def network(depth: int) -> CifarResNet:
    """ResNet-20 and the like, with statistics that describe random images."""
    torch.manual_seed(0)
    model = CifarResNet((depth - 2) // 6).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 3, 32, 32))
    return model.eval()


def searching(
    model: nn.Module, method: str, x: Tensor, per_channel: bool = False, activations: bool = False
) -> Training:
    """A search with a method, at 3 bits on average. activations: searched too, of a method that searches."""
    target = "generic-po2-per-channel" if per_channel else "torch-x86"
    shared: dict[str, Any] = {"per_channel": per_channel, "steps": 1000, "calibration": [x]}
    if trainable(method).searches_bits:
        limits = {"average_weight_bits": 3.0} | ({"activation_bytes": 40000.0} if activations else {})
        shared["activation_bits"] = None if activations else 8
        search = fx.Search(model, x, target, mpq.Budget(**limits), method, **shared)
    else:
        search = fx.Search(model, x, target, method=method, weight_bits=3, activation_bits=8, **shared)
    return Training(search.model, search)


def fixed(model: nn.Module, method: str, x: Tensor, y: Tensor) -> Training:
    """The same after one step and harden()."""
    training = searching(model, method, x)
    training.step(x, y)
    assert training.search is not None
    training.search.harden()
    return Training(training.model, training.search)


def torch_ao(model: nn.Module, x: Tensor) -> Training:
    """torch.ao's own QAT."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return Training(prepare_qat_fx(copy.deepcopy(model).train(), get_default_qat_qconfig_mapping("x86"), x))


def operations(training: Training, x: Tensor, y: Tensor, bodies: bool = False) -> Counter:
    """Those of one step, after two others. bodies: those of our own ops too, as an accelerator runs them."""
    for _ in range(2):
        training.step(x, y)
    with patch.object(torch.compiler, "is_compiling", lambda: bodies), Counter() as counter:
        training.step(x, y)
    return counter


def seconds(trainings: dict[str, Training], x: Tensor, y: Tensor, rounds: int = 7) -> dict[str, float]:
    """The least time of a step of each, taken in turns."""
    best = dict.fromkeys(trainings, float("inf"))
    for turn in range(rounds):
        for name, training in trainings.items():
            begin = time.perf_counter()
            training.step(x, y)
            if turn:
                best[name] = min(best[name], time.perf_counter() - begin)
    return best


def main() -> None:
    """Print a table of operations, or of times, each beside torch.ao's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--time", action="store_true", help="batch 128 on all cores, instead of operations")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    size = 128 if options.time else 8
    model = network(options.depth)
    x, y = torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))
    baselines = {"float": Training(copy.deepcopy(model).train()), "torch.ao": torch_ao(model, x)}
    if options.time:
        _print_times(options.methods, baselines, model, x, y)
    else:
        _print_operations(options.methods, baselines, model, x, y)


def _print_operations(
    methods: tuple[str, ...], baselines: dict[str, Training], model: nn.Module, x: Tensor, y: Tensor
) -> None:
    def row(name: str, make: Callable[[], Training]) -> None:
        plain, bodies = operations(make(), x, y), operations(make(), x, y, bodies=True)
        print(f"{name:36s} {plain.total:7d} {bodies.total:7d} {plain.seen[HOST_READ]:7d} {plain.total / ao:7.2f}")

    ao = operations(baselines["torch.ao"], x, y).total
    print(f"{'operations':36s} {'seen':>7s} {'bodies':>7s} {'reads':>7s} {'/ao':>7s}")
    for name, training in baselines.items():
        row(name, lambda training=training: training)  # type: ignore[misc]
    for method in methods:
        row(f"{method} searching", lambda method=method: searching(model, method, x))  # type: ignore[misc]
        for channel in (False, True) if trainable(method).searches_bits else ():
            name = f"{method} and activations{', per channel' * channel}"
            row(name, lambda method=method, channel=channel: searching(model, method, x, channel, True))  # type: ignore[misc]
        row(f"{method} fixed", lambda method=method: fixed(model, method, x, y))  # type: ignore[misc]


def _print_times(
    methods: tuple[str, ...], baselines: dict[str, Training], model: nn.Module, x: Tensor, y: Tensor
) -> None:
    for method in methods:
        found = seconds(
            {**baselines, "searching": searching(model, method, x), "fixed": fixed(model, method, x, y)}, x, y
        )
        print(
            f"{method:14s}", "  ".join(f"{k} {v * 1e3:7.1f} ms {v / found['torch.ao']:5.2f}" for k, v in found.items())
        )


if __name__ == "__main__":
    main()
