"""``mpq integers``: a model and its recipe as integer codes and shifts, for people who write C or hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mpq_plugins.commands import options
from mpq_plugins.commands.console import Voice


def integers(
    recipe: Annotated[Path, typer.Argument(help="A recipe of power-of-two grids, as `mpq search` writes it.")],
    model: options.Model,
    calibration: options.Calibration,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into; it is made.")],
    c: Annotated[bool, typer.Option("--c", help="Write a C header too, its kernels, and an example program.")] = False,
    framework: options.Framework = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write a model as integers: codes, step exponents, int32 biases and right shifts, as JSON and .npz.

    Example: mpq integers recipe.json -m nets.py:resnet20 -c images.npy --out integers --c

    The calibration data are those of the search: weights are rounded with compensation for them, biases
    corrected, and the integers, run by NumPy, are compared with the simulation on them. Nothing is written if they
    differ.
    """
    from mpq_plugins.errors import LoadingError
    from mpq_plugins.integers import save, write_c
    from mpq_plugins.recipe.recipe import Recipe
    from mpq_plugins.workspace.loading import load_calibration, load_model

    voice = Voice(quiet, as_json)
    loaded_recipe = Recipe.load(recipe)
    loaded = load_model(model, framework)
    if not hasattr(loaded.commands, "integers"):
        raise LoadingError(f"the adapter {loaded.framework!r} makes no integer programs")
    kept = options.kept_in_float(loaded_recipe)
    batches = loaded.commands.batches(loaded.model, load_calibration(calibration), kept)
    with voice.working("rounding the model, and running its integers"):
        on_grid = loaded.commands.constrain(loaded.model, loaded_recipe, batches)
        program, verification = loaded.commands.integers(on_grid, loaded_recipe, batches)
        verification.raise_if_different()
    program = replace(program, name=_name_of(model))
    written = [*save(program, out), *(write_c(program, out) if c else ())]
    voice.say(
        f"{', '.join(str(path) for path in written)}\n{len(program.steps)} steps, {len(program.weights)} weights, "
        f"sums in {program.accumulator_bits} bits\n{verification}"
    )
    voice.result(
        {
            "files": [str(path) for path in written],
            "steps": len(program.steps),
            "accumulator_bits": program.accumulator_bits,
            "float_ops": list(program.float_ops),
            "exact": verification.exact,
            "verified_values": verification.elements,
        }
    )


def _name_of(reference: str) -> str:
    """The name of a model: that of its factory, or of its file.

    >>> _name_of("nets.py:resnet20"), _name_of("models/tiny.keras")
    ('resnet20', 'tiny')
    """
    source, _, factory = reference.rpartition(":")
    return factory.rpartition(".")[2] if source else Path(factory).stem
