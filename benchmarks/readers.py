"""Which networks of the zoos, and of the kinds that no zoo has, both of torch's readers read, and whether alike.

    python -m benchmarks.readers [--package torchvision timm kinds] [--names NAME ...]
    python -m benchmarks.readers --depth

Prints for each network: the processor's seconds that reading it through torch.fx and through torch.export takes (or
why it cannot be read so), the nodes of its graph, and whether the sites and their names are equal where both read it.
--depth: how long torch.fx's takes with deep networks instead, the median of three.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cifar import CifarResNet
from benchmarks.zoo.kinds import KINDS
from benchmarks.zoo.networks import built, listed
from mpq_plugins.errors import MPQError
from mpq_plugins.graph.sites import take_sites
from mpq_torch.reader.reading import Reading, read_seen
from mpq_torch.reader.tracers import traced_by
from mpq_torch.reader.user_code import NotTraced


def main(arguments: list[str] | None = None) -> None:
    """Read the networks, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", nargs="+", default=["torchvision", "timm", "kinds"])
    parser.add_argument("--names", nargs="+", default=[])
    parser.add_argument("--depth", action="store_true")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if chosen.depth:
        _print_depths()
        return
    print("| network | torch.fx s | torch.export s | nodes | sites and names |\n|---|---|---|---|---|")
    read = total = 0
    for package, name in _networks(chosen.package):
        if chosen.names and name not in chosen.names:
            continue
        torch.manual_seed(0)
        model, example = KINDS[name]() if package == "kinds" else _zoo(package, name)
        with torch.no_grad():
            model(*example) if name != "keyword and optional inputs" else None
        line, done = _row(model.eval(), example)
        total, read = total + 1, read + done
        print(f"| {name} | {line} |", flush=True)
    print(f"\n{read} of {total} read")


class _Blocks(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1)) for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return x


DEEP: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "ResNet-56": lambda: (CifarResNet(9), torch.randn(2, 3, 32, 32)),
    "600 residual blocks": lambda: (_Blocks(600), torch.randn(2, 4, 4, 4)),
    "1,100 ReLUs": lambda: (nn.Sequential(nn.Linear(4, 4), *(nn.ReLU() for _ in range(1100))), torch.randn(2, 4)),
}


def _print_depths() -> None:
    print("| network | nodes | torch.fx traces s | its graph s | its sites s |")
    print("|---|---|---|---|---|")
    for name, make in DEEP.items():
        torch.manual_seed(0)
        model, images = make()
        model, example = model.eval(), (images,)
        traced, seen = _timed(partial(traced_by, "torch.fx", model, example))
        made, reading = _timed(partial(read_seen, seen, example))
        sites, _ = _timed(partial(take_sites, reading.graph))
        seconds = " | ".join(f"{second:.2f}" for second in (traced, made, sites))
        print(f"| {name} | {len(reading.graph.nodes):,} | {seconds} |", flush=True)


def _timed(function: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """The processor's seconds of a call, the median, and what it returned."""
    taken, result = [], None
    for _ in range(times):
        start = time.process_time()
        result = function()
        taken.append(time.process_time() - start)
    return median(taken), result


def _networks(packages: list[str]) -> Iterator[tuple[str, str]]:
    yield from (pair for pair in listed() if pair[0] in packages)
    if "kinds" in packages:
        yield from (("kinds", name) for name in KINDS)


def _zoo(package: str, name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    model, images = built(package, name, 2)
    return model, (images,)


def _row(model: nn.Module, example: tuple[Any, ...]) -> tuple[str, bool]:
    """The cells of a network, and whether it was read."""
    cells, readings = [], []
    for tracer in ("torch.fx", "torch.export"):
        start = time.process_time()
        found = _read(tracer, model, example)
        cells.append(f"no: {found}" if isinstance(found, str) else f"{time.process_time() - start:.2f}")
        readings += [] if isinstance(found, str) else [found]
    nodes = [str(len(reading.graph.nodes)) for reading in readings]
    cells.append(" / ".join(dict.fromkeys(nodes)) or "-")
    cells.append(_compared(*readings) if len(readings) == 2 else "-")
    return " | ".join(cells), bool(readings)


def _read(tracer: str, model: nn.Module, example: tuple[Any, ...]) -> Reading | str:
    """The network as one of the readers has it, or why it cannot be read."""
    try:
        seen = traced_by(tracer, model, example)
        return str(seen.reason).removeprefix(": ")[:160] if isinstance(seen, NotTraced) else read_seen(seen, example)
    except MPQError as error:
        return str(error)[:160]


def _compared(first: Reading, second: Reading) -> str:
    a, b = ([(s.name, s.op, s.shape) for s in take_sites(r.graph).inventory] for r in (first, second))
    if a == b:
        return f"equal ({len(a)})"
    lost, new = [x[0] for x in a if x not in b], [x[0] for x in b if x not in a]
    return f"differ: {', '.join(lost[:4])} ({len(lost)}) / {', '.join(new[:4])} ({len(new)})"


if __name__ == "__main__":
    main()
