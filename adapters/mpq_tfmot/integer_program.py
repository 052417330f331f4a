"""A Keras model on its grids as an integer program, which runs without TensorFlow and without floats."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.program import Program
from mpq_plugins.integers.verification import compare_with
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_tfmot.calibration.batches import as_batches, in_chunks
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.fitting import read_quantized

SAMPLES = 256
"""Samples that are simulated at once."""


def integers(model: Any, recipe: Recipe, name: str = "model") -> Program:
    """The model as integer codes, step exponents, int32 biases and shifts, channels last.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases are then
        rounded to nearest. name: of the program, which its C header is named after.

    The program computes exactly what the simulation of the recipe computes, up to ops that stay float at the
    model's end. Raises RecipeMismatch, GridError where a step is no power of two, and UnsupportedOp, with all names,
    for what has no place in a program of integers.
    """
    _, quantized = read_quantized(model, recipe)
    return program_of(quantized, name, f"tensorflow {tf.__version__}")


def verify_integers(program: Program, model: Any, recipe: Recipe, inputs: Any) -> Verification:
    """Compare a program, run by NumPy in integers, with the simulation of its model, element by element.

    model, recipe: what the program was made from. inputs: an array, or an iterable of batches, as for ``search``.
    """
    reading, quantized = read_quantized(model, recipe)
    batches = in_chunks(as_batches(inputs, reading.graph.arguments), SAMPLES)
    tensors = ([tf.constant(x) for x in batch] for batch in batches)
    return compare_with(program, Simulation(quantized, reading.runner), tensors)
