"""Networks of torchvision, timm and tf_keras.applications as integers, each in a process of its own.

    python -m benchmarks.zoo [--targets NAME ...] [--stock] [--images N] [--seconds N] [--read] [NETWORK ...]
    python -m benchmarks.zoo --kinds [--frameworks NAME ...] [--targets NAME ...] [--data FOLDER] [KIND ...]

Drawn weights, norms that have seen the images, a search at 8 bits (at 7 bits of weights where this processor's kernels
saturate at more). "exact": every output, and every float one behind
the integers, is the number that the simulation has. MACs: the share of the multiply-accumulates that is quantized, the
products of attention counted. CPU s: seconds of processors for the work on the network; memory is the peak of the
process over what it held with the network built. Behind the table, the reasons that stopped networks or kept parts of
them in float, by the number of networks. --kinds: small networks of every kind that people quantize, written for this
purpose. NETWORK: of the lists, or another of these packages. --read: only the share that a target has kernels for,
without a search. --stock: beside the frameworks' own tools, of which it says whether they give a model that runs.
"""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.zoo import kind_rows
from benchmarks.zoo.networks import listed, others
from benchmarks.zoo.ours import DEFAULTS, TARGETS
from benchmarks.zoo.rows import in_a_process
from benchmarks.zoo.stock import BY

KIND_HEADINGS = ("kind", "in", "by", "verdict", "MACs", "s", "float, or why not")
HEADINGS = ("network", "from", "by", "verdict", "MACs", "CPU s", "peak GB", "float, or why not")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a row for each network and target, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--targets", nargs="+", metavar="NAME")
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0, help="after which a network is given up")
    parser.add_argument("--read", action="store_true")
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--frameworks", nargs="+", default=list(kind_rows.TARGETS), choices=kind_rows.TARGETS)
    parser.add_argument("--data", default="data", help="folder of MLPerf Tiny's files, for --kinds in Keras")
    chosen = parser.parse_args(arguments)
    if chosen.kinds:
        os.environ["MPQ_ZOO_DATA"] = chosen.data
        _kinds(chosen)
        return
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    why: Counter[str] = Counter()
    for package, name in (*listed(), *others(chosen.networks)):
        if chosen.networks and name not in chosen.networks:
            continue
        framework = "keras" if package == "tf_keras" else "torch"
        targets = [t for t in chosen.targets or DEFAULTS[framework] if t in TARGETS[framework]]
        for by in (*targets, *(BY[framework] if chosen.stock else ())):
            cells = in_a_process(package, name, by, chosen.images, chosen.seconds, chosen.read)
            why.update(_reasons(cells[-1]))
            print("| " + " | ".join((name, package, by, *(_cell(c) for c in cells))) + " |", flush=True)
    _print_reasons(why)


def _kinds(chosen: argparse.Namespace) -> None:
    """The same of kinds of networks, and how many of them are exact by target."""
    print("| " + " | ".join(KIND_HEADINGS) + " |")
    print("|" + "---|" * len(KIND_HEADINGS), flush=True)
    why, verdicts = Counter[str](), Counter[tuple[str, str, str]]()
    for framework in chosen.frameworks:
        targets = [t for t in chosen.targets or kind_rows.TARGETS[framework] if t in kind_rows.TARGETS[framework]]
        bys = (*targets, *(BY[framework] if chosen.stock else ()))
        for row in kind_rows.found(framework, bys, chosen.networks, chosen.seconds):
            why.update(_reasons(row[-1]))
            verdict = "differs" if "differ" in row[3] else row[3]
            verdicts[row[1], row[2], verdict] += 1
            print("| " + " | ".join(map(_cell, row)) + " |", flush=True)
    print("\nVerdicts, by framework and target:\n")
    for (framework, by, verdict), count in sorted(verdicts.items()):
        print(f"- {framework}, {by}: {count} {verdict}")
    _print_reasons(why)


def _print_reasons(why: Counter[str]) -> None:
    print("\nReasons, by the number of rows that have them:\n")
    for reason, count in why.most_common():
        print(f"- {count}: {reason}")


def _reasons(text: str) -> set[str]:
    """Reasons without numbers and names of sites, each once."""
    parts = [re.sub(r"^\d+ x ", "", part) for part in text.split("; ") if part]
    return {re.sub(r"'[^']*'|\d+(\.\d+)?", "..", part)[:120] for part in parts}


def _cell(text: str) -> str:
    return text.replace("|", "/")[:240]


if __name__ == "__main__":
    main()
