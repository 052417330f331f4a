"""``mpq search``: a recipe for a user's model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice, kept_measurements, resumable
from mpq_plugins.commands.show import print_recipe


def search(
    model: options.Model,
    calibration: options.Calibration,
    target: options.TargetName,
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
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the recipe.")] = Path("recipe.json"),
    details: Annotated[
        Path | None,
        typer.Option(help="Also write what the report shows beside the recipe: errors, sensitivities, noise."),
    ] = None,
    memory_gb: options.MemoryGb = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find the grids of a float model's tensors within a budget.

    Example: mpq search -m nets.py:resnet20 -c images.npy -t torch-x86 --average-weight-bits 4 --activation-bits 8

    What takes long is kept ($MPQ_CACHE_DIR, else the user's cache directory): after Ctrl-C, or with another
    budget, the same command goes on from there.
    """
    voice = Voice(quiet, as_json)
    options.check_writable(out, details)
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
    with resumable(voice):
        study = open_study(model, calibration, framework, keep_float, fresh, voice)
        recipe = study.search(request)
        recipe.save(out)
        if details is not None:
            from mpq_plugins.reporting.gather import gather

            gather(study, recipe, request).save(details)
    if not (quiet or as_json):
        print_recipe(recipe)
    voice.say(f"\nthe recipe is in {out}" + (f", the details are in {details}" if details else ""))
    voice.result({"recipe": str(out), "details": None if details is None else str(details), **options.summary(recipe)})


def open_study(
    model: str, calibration: str, framework: str | None, keep_float: list[str] | None, fresh: bool, voice: Voice
) -> Any:
    """The Study of a model and data given by reference; raises LoadingError."""
    from mpq_plugins.workspace.loading import load_calibration, load_model
    from mpq_plugins.workspace.study import Study

    loaded = load_model(model, framework)
    data = load_calibration(calibration)
    return Study(loaded, data, kept_measurements(), keep_float or (), fresh, voice.progress)
