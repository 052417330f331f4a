"""Models written from their graphs, as tests look at them."""

from __future__ import annotations

from mpq_plugins import plugins
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.writing import write_module


def graph_of(model, x, keep_float=(), target=None):
    """The model's graph."""
    return read_model(model, [x], keep_float, target=target).graph


def graph_of_integers(model, x, keep_float=()):
    """The model's graph for a target that has no float arithmetic."""
    return graph_of(model, x, keep_float, plugins.target("generic-po2"))


def written(model, x):
    """The model written from its graph, in eval mode."""
    return write_module(read_model(model, [x]))
