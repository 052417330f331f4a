"""``mpq report``: a recipe as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice, resumable
from mpq_plugins.errors import LoadingError
from mpq_plugins.stored import whole_file


def report(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as `mpq search` writes it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the page.")] = Path("report.html"),
    details: Annotated[Path | None, typer.Option(help="What `mpq search --details` wrote for this recipe.")] = None,
    pareto: Annotated[Path | None, typer.Option(help="pareto.json, as `mpq pareto` wrote it.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=f"To work out what is missing. {options.MODEL_HELP}")
    ] = None,
    calibration: Annotated[str | None, typer.Option("--calibration", "-c", help=options.CALIBRATION_HELP)] = None,
    framework: options.Framework = None,
    latency: options.LatencyTable = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write a recipe as one HTML page that needs no network.

    Example: mpq report recipe.json --details details.json --pareto pareto/pareto.json --out report.html

    Bits, costs, errors, sensitivities, noise, the Pareto front, reasons and verification.
    Without --details, a model and its calibration data give the same; without either, the page says what it
    leaves out.
    """
    from mpq_plugins.recipe.recipe import Recipe
    from mpq_plugins.reporting.details import Details
    from mpq_plugins.reporting.front import Front
    from mpq_plugins.reporting.page import page

    voice = Voice(quiet, as_json)
    options.check_writable(out)
    shown = Recipe.load(recipe)
    known = None if details is None else Details.load(details)
    front = None if pareto is None else Front.load(pareto)
    if (model is None) != (calibration is None):
        raise LoadingError("--model and --calibration are needed together: one is measured on the other")
    if known is None and model is not None and calibration is not None:
        from mpq_plugins.commands.search import open_study
        from mpq_plugins.reporting.gather import gather, request_of

        with resumable(voice):
            study = open_study(model, calibration, framework, options.kept_in_float(shown), fresh, voice)
            known = gather(study, shown, request_of(shown, latency, voice.progress))
    text, left_out = page(shown, known, front, str(recipe))
    whole_file.write(out, text)
    voice.say(f"the report is in {out} ({len(text.encode()):,} bytes)")
    for reason in left_out:
        voice.say(f"left out: {reason}")
    voice.result({"report": str(out), "bytes": len(text.encode()), "left_out": left_out})
