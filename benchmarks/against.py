"""What a search finds and how long it takes, by today's code and by that of a commit, in one run.

    python -m benchmarks.against --tag TAG --data DIR [--models resnet20 resnet56 ...] [--runs 5] [--threads N]

TAG is checked out into a temporary git worktree; DIR is laid out as for benchmarks.cifar_ptq and
benchmarks.mlperf_tiny_ptq. Each search runs in a process of its own, on one thread (``--threads``: of today's), the two
versions in turn, so that a busy machine is busy for both. Compared are the grids of all sites, bits and steps; the
seconds are those of ``search`` alone. ResNet-56 has drawn weights (see search_once). Exits with 1 where a grid differs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SEARCH = Path(__file__).with_name("search_once.py")
MODELS = ("resnet20", "resnet20_channels", "resnet8", "resnet56")
HEADINGS = (
    "model",
    "grids",
    "seconds then (minimum, median)",
    "seconds today (minimum, median)",
    "today / then (minimum, median)",
)


@contextmanager
def checkout(tag: str) -> Iterator[Path]:
    """A folder with the project as of a commit, while the context lasts."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "then"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), tag], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def searched(tree: Path, model: str, data: Path, threads: int) -> dict[str, Any]:
    """Grids and seconds of a search by the code in a folder. Raises RuntimeError where other code ran, or none."""
    path = os.pathsep.join([str(tree), str(tree / "adapters")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "TF_USE_LEGACY_KERAS": "1"}
    command = [sys.executable, "-c", SEARCH.read_text(), model, str(data)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the search of {model} in {tree} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if not Path(found["from"]).resolve().is_relative_to(tree.resolve()):
        raise RuntimeError(f"the code of {found['from']} ran instead of that in {tree}")
    return found


def different(then: dict[str, Any], today: dict[str, Any]) -> list[str]:
    """The sites whose grids differ, or that one of the two lacks, in the order of execution."""
    return [site for site in dict.fromkeys([*then, *today]) if then.get(site) != today.get(site)]


def row(model: str, then: Path, data: Path, runs: int, threads: int) -> tuple[tuple[str, ...], bool]:
    """The cells of a model, and whether all grids are equal."""
    results: dict[Path, list[dict[str, Any]]] = {then: [], ROOT: []}
    for index in range(runs):
        for tree in (then, ROOT) if index % 2 == 0 else (ROOT, then):
            results[tree].append(searched(tree, model, data, threads if tree == ROOT else 1))
    old, new = results[then][0]["grids"], results[ROOT][0]["grids"]
    names = different(old, new)
    grids = f"all {len(new)} equal"
    if names:
        first = names[0]
        grids = f"{len(names)} of {len(new)} differ, first {first}: {old.get(first)} -> {new.get(first)}"
    seconds = [[result["seconds"] for result in results[tree]] for tree in (then, ROOT)]
    least, median = ([function(values) for values in seconds] for function in (min, statistics.median))
    cells = (f"{a:.2f}, {b:.2f}" for a, b in zip(least, median, strict=True))
    return (model, grids, *cells, f"{least[1] / least[0]:.2f}, {median[1] / median[0]:.2f}"), not names


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per model, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", required=True, help="the commit to compare with")
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives and the models")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--runs", type=int, default=5, help="searches of each version")
    parser.add_argument("--threads", type=int, default=1, help="of today's search")
    chosen = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    equal = True
    with checkout(chosen.tag) as then:
        for model in chosen.models:
            cells, same = row(model, then, chosen.data.resolve(), chosen.runs, chosen.threads)
            equal = equal and same
            print("| " + " | ".join(cells) + " |", flush=True)
    if not equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
