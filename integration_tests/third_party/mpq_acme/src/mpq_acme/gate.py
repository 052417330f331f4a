"""An op of two inputs: nobody has a kernel of it, so that its record says the steps that compute it."""

from __future__ import annotations

from mpq_plugins import hookimpl
from mpq_plugins.graph.op import Op, any_negative

GATE = Op(
    "gate",
    lambda run, node, a, b: a * run.sigmoid(b),
    arity=2,
    negative=any_negative,
    steps=(("sigmoid", ("input1",)), ("mul", ("input", "sigmoid"))),
    spellings={"torch": ("mpq_acme.torch_layers.gate", "mpq_acme.torch_layers.Gate"), "keras": ("Gate",)},
)


@hookimpl
def mpq_register_ops(register):
    register(GATE)
