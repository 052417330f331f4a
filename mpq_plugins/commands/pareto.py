"""``mpq pareto``: what each amount of one resource buys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice, resumable
from mpq_plugins.commands.search import open_study


def pareto(
    model: options.Model,
    calibration: options.Calibration,
    target: options.TargetName,
    sweep: Annotated[str, typer.Option(help="The resource to sweep: a budget of `mpq search`, or a plug-in's.")],
    points: Annotated[int, typer.Option(min=2, help="How many limits to try.")] = 12,
    framework: options.Framework = None,
    method: options.Method = "msqe",
    average_weight_bits: options.AverageWeightBits = None,
    average_activation_bits: options.AverageActivationBits = None,
    weight_bytes: options.WeightBytes = None,
    activation_bytes: options.ActivationBytes = None,
    bops: options.Bops = None,
    latency_ms: options.LatencyMs = None,
    limit: options.Limits = None,
    weight_bits: options.WeightBits = None,
    activation_bits: options.ActivationBits = None,
    per_channel: options.PerChannel = None,
    keep_float: options.KeepFloat = None,
    latency: options.LatencyTable = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the recipes and pareto.json.")] = Path(
        "pareto"
    ),
    memory_gb: options.MemoryGb = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Sweep one budget, and write a recipe for every point.

    Example: mpq pareto -m nets.py:resnet20 -c images.npy -t torch-x86 --sweep weight_bytes --activation-bits 8

    The sweep goes from the least that can be reached to the lowest loss. Other budgets hold at every point.
    Show the curve with: mpq report recipe.json --pareto pareto/pareto.json
    """
    from mpq_plugins.commands.listing import print_list
    from mpq_plugins.reporting.front import Front

    voice = Voice(quiet, as_json)
    resource = sweep.replace("-", "_")
    budget = options.read_budget(
        limit,
        average_weight_bits=average_weight_bits,
        average_activation_bits=average_activation_bits,
        weight_bytes=weight_bytes,
        activation_bytes=activation_bytes,
        bops=bops,
        latency_ms=latency_ms,
    )
    request = options.read_request(
        target, method, budget, weight_bits, activation_bits, per_channel, latency, voice.progress, memory_gb
    )
    options.check_writable(out / "pareto.json" if out.is_dir() else out)
    with resumable(voice):
        study = open_study(model, calibration, framework, keep_float, fresh, voice)
        found = study.sweep(request, resource, points)
        out.mkdir(exist_ok=True)
        files = []
        for index, (recipe, _) in enumerate(found):
            files.append(f"recipe-{index:02d}.json")
            recipe.save(out / files[-1])
        front = Front.of(resource, found, files)
        front.save(out / "pareto.json")
    if not (quiet or as_json):
        rows = [
            (p.recipe, f"{p.cost:,.10g}", f"{p.average_weight_bits:.3f}", f"{p.weight_bytes:,.10g}", f"{p.loss:.4g}")
            for p in front.points
        ]
        print_list(("recipe", resource, "average bits", "weight bytes", "predicted loss"), rows)
    voice.note(f"{len(files)} recipes and pareto.json are in {out}")
    voice.result(front.to_dict())
