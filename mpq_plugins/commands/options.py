"""What the options of several commands have in common: their types, and how their texts are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import BudgetError, MPQError, OutputError
from mpq_plugins.search_input import Bits

MODEL_HELP = "The float model: package.module:factory, file.py:factory, or a .keras, .h5 or .pt2 file."
CALIBRATION_HELP = "Example inputs, some hundred: package.module:factory, or a .npy or .npz file."

Model = Annotated[str, typer.Option("--model", "-m", help=MODEL_HELP, show_default=False)]
Calibration = Annotated[str, typer.Option("--calibration", "-c", help=CALIBRATION_HELP, show_default=False)]
Framework = Annotated[
    str | None, typer.Option(help="torch or tfmot; by default that of the model.", show_default=False)
]
TargetName = Annotated[
    str, typer.Option("--target", "-t", help="The hardware: a name of `mpq targets`, or a JSON file.")
]
Method = Annotated[str, typer.Option(help="How to search: a post-training method of `mpq methods`.")]
WeightBits = Annotated[
    list[str] | None,
    typer.Option(help="Candidates for weights: 4, or 2,4,8, or 2-8, or for some sites 'fc*=8'; repeatable."),
]
ActivationBits = Annotated[list[str] | None, typer.Option(help="Candidates for activations, written as those.")]
PerChannel = Annotated[
    bool | None,
    typer.Option("--per-channel/--per-tensor", help="Steps of weights; by default per channel where the target can."),
]
KeepFloat = Annotated[list[str] | None, typer.Option(help="A module or op to leave in float; repeatable.")]
LatencyTable = Annotated[
    Path | None, typer.Option(help="A latency table (JSON), which --latency-ms counts by.", show_default=False)
]
AverageActivationBits = Annotated[
    float | None, typer.Option(help="At most so many bits per activation.", show_default=False)
]
AverageWeightBits = Annotated[float | None, typer.Option(help="At most so many bits per weight.", show_default=False)]
WeightBytes = Annotated[float | None, typer.Option(help="At most so many bytes of weights.", show_default=False)]
ActivationBytes = Annotated[
    float | None, typer.Option(help="At most so many bytes of activations at once.", show_default=False)
]
Bops = Annotated[float | None, typer.Option(help="At most so many bit operations per sample.", show_default=False)]
LatencyMs = Annotated[float | None, typer.Option(help="At most so many milliseconds per sample.", show_default=False)]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="RESOURCE=VALUE for a plug-in's cost model; repeatable.")
]
MemoryGb = Annotated[
    float | None,
    typer.Option(help="Gigabytes that it may take beside the model; by default the machine's.", show_default=False),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again what an earlier run has kept.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no text; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]


def read_bits(given: Sequence[str] | None) -> Bits:
    """Candidates as Request takes them. Raises MPQError for what is no list of bits.

    >>> read_bits(["4"]), read_bits(["2,4,8"]), read_bits(["fc*=8", "2-4"]), read_bits(None)
    ((4,), (2, 4, 8), {'fc*': (8,), '*': (2, 3, 4)}, None)
    """
    if not given:
        return None
    by_pattern: dict[str, tuple[int, ...]] = {}
    for text in given:
        pattern, _, bits = text.rpartition("=")
        by_pattern[pattern or "*"] = _numbers(bits, text)
    if list(by_pattern) == ["*"]:
        return by_pattern["*"]
    rest = by_pattern.pop("*", None)
    return by_pattern if rest is None else {**by_pattern, "*": rest}


def read_budget(limits: Sequence[str] | None, **own: float | None) -> Budget | None:
    """The budget of the options; None where none is set. own: by field of Budget. Raises BudgetError.

    >>> read_budget(["energy=5e6"], bops=None).limits()
    {'energy': 5000000.0}
    """
    other = {}
    for text in limits or ():
        name, _, value = text.partition("=")
        try:
            other[name] = float(value)
        except ValueError:
            raise BudgetError(f"--limit takes RESOURCE=VALUE, such as energy=5e6, got {text!r}") from None
    if not other and all(value is None for value in own.values()):
        return None
    return Budget(**own, other=other)


def check_writable(*paths: Path | None) -> None:
    """Raise OutputError for a file that cannot be written, before anything takes long."""
    for path in paths:
        if path is None:
            continue
        parent = path.parent
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory")
        if not parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no directory {parent}")
        try:
            draft = parent / f".{path.name}.part"
            draft.touch()
            draft.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _numbers(bits: str, whole: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in bits.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise MPQError(f"{whole!r} is no list of bits; write 4, or 2,4,8, or 2-8, or 'fc*=8' for some sites")
        found += range(int(first), int(last) + 1) if dash else [int(first)]
    return tuple(sorted(set(found)))


def summary(recipe: Any) -> dict[str, Any]:
    """What scripts want to know of a recipe, as ``--json`` prints it."""
    return {
        "target": recipe.target,
        "method": recipe.method,
        "average_weight_bits": recipe.average_weight_bits,
        "weight_bytes": recipe.weight_bytes,
        "budget": dict(recipe.budget),
        "costs": dict(recipe.costs),
        "shadow_prices": dict(recipe.shadow_prices),
        "bits": {site: grid.bits for site, grid in recipe.items()},
    }


def read_request(
    target: str,
    method: str,
    budget: Budget | None,
    weight_bits: Sequence[str] | None,
    activation_bits: Sequence[str] | None,
    per_channel: bool | None,
    latency: Path | None,
    progress: bool | None,
    memory_gb: float | None = None,
) -> Any:
    """The Request of the options; raises what Request and LatencyTable.load raise."""
    from mpq_plugins.costs.latency_table import LatencyTable as Table
    from mpq_plugins.search.request import Request

    table = None if latency is None else Table.load(latency)
    return Request(
        target,
        method,
        budget,
        read_bits(weight_bits),
        read_bits(activation_bits),
        per_channel,
        latency=table,
        progress=progress,
        memory_gb=memory_gb,
    )


def kept_in_float(recipe: Any) -> list[str]:
    """The ops that a recipe's search was told to keep in float, or that stay float by themselves."""
    return list(recipe.float_ops)
