"""A torch model on its grids as an integer program, which runs without torch and without floats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.program import Program
from mpq_plugins.integers.verification import compare_with
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import Batch, as_batch, as_batches, going_through
from mpq_torch.reader.fitting import read_quantized


def integers(model: nn.Module, recipe: Recipe, example_inputs: Any = None, name: str = "model") -> Program:
    """The model as integer codes, step exponents, int32 biases and shifts, channels first.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases are then
        rounded to nearest. example_inputs: a tensor, or a tuple of the model's arguments, for the shapes; None takes
        those that the recipe has. name: of the program, which its C header is named after.

    The program computes exactly what the simulation of the recipe computes, up to ops that stay float at the
    model's end. Raises RecipeMismatch, GridError where a step is no power of two, and UnsupportedOp, with all names,
    for what has no place in a program of integers.
    """
    example = None if example_inputs is None else as_batch(example_inputs, takes_of(model))
    _, quantized = read_quantized(model, recipe, example)
    return program_of(quantized, name, f"torch {torch.__version__}")


def verify_integers(program: Program, model: nn.Module, recipe: Recipe, inputs: Any) -> Verification:
    """Compare a program, run by NumPy in integers, with the simulation of its model, element by element.

    model, recipe: what the program was made from. inputs: a tensor, or an iterable of batches.
    """
    batches = as_batches(inputs, takes_of(model))
    reading, quantized = read_quantized(model, recipe, batches[0])
    latest: list[Batch] = []  # what torch stops at, where it does

    def given() -> Iterator[tuple[Any, ...]]:
        for batch in batches:
            latest[:] = [batch]
            yield reading.given(batch)

    with torch.no_grad(), going_through(latest):
        return compare_with(program, Simulation(quantized, reading.runner), given())
