"""A float tensor enters the part of the model that computes on grids."""

from mpq_plugins.graph.op import Op, any_negative

OPS = (Op("input", lambda run, node, x: x, negative=any_negative, spellings={"litert": ("QUANTIZE",)}),)
