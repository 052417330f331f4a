"""``mpq export``: a model and its recipe as a file for a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice
from mpq_plugins.stored import whole_file


def export(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as `mpq search` writes it.")],
    model: options.Model,
    calibration: options.Calibration,
    to: Annotated[str, typer.Option(help="torch (torch models), onnx or litert (torch and Keras models).")],
    framework: options.Framework = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; by default the recipe's name.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Convert a model by its recipe, and verify that it is exact.

    Example: mpq export recipe.json -m nets.py:resnet20 -c images.npy --to torch

    The calibration data are those of the search: weights are rounded with compensation for them, biases
    corrected, and the converted model is compared with its simulation on them. It is not written if they differ.
    """
    from mpq_plugins.recipe.recipe import Recipe
    from mpq_plugins.workspace.exporting import export_format
    from mpq_plugins.workspace.loading import load_calibration, load_model

    voice = Voice(quiet, as_json)
    loaded_recipe = Recipe.load(recipe)
    options.check_writable(out)
    loaded = load_model(model, framework)
    kind = export_format(loaded, to)
    path = out or recipe.with_suffix(kind.suffix)
    options.check_writable(path)
    kept = options.kept_in_float(loaded_recipe)
    batches = loaded.commands.batches(loaded.model, load_calibration(calibration), kept)
    with voice.working("rounding, converting and verifying the model"):
        exported = kind.export(loaded.model, loaded_recipe, batches)
        if exported.verification is not None:
            exported.verification.raise_if_different()
    whole_file.write(path, exported.content)
    verified = exported.verification
    said = str(verified) if verified else "not verified: nothing here runs it"
    voice.say(f"{path}: {len(exported.content):,} bytes, {exported.summary}\n{said}")
    voice.result(
        {
            "file": str(path),
            "bytes": len(exported.content),
            "summary": exported.summary,
            "exact": None if verified is None else verified.exact,
            "verified_values": 0 if verified is None else verified.elements,
        }
    )
