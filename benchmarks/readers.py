"""Which networks of the zoos, and of the kinds that no zoo has, both of torch's readers read, and whether alike.

    python -m benchmarks.readers [--package torchvision timm kinds] [--names NAME ...]

Prints for each network: the processor's seconds that reading it through torch.fx and through torch.export takes (or
why it cannot be read so), the nodes of its graph, and whether the sites and their names are equal where both read it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

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
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
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
