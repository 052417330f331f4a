"""ACME's own activation, in one record: all that mpq-plugins has to know of it."""

from __future__ import annotations

from mpq_plugins import hookimpl
from mpq_plugins.graph.op import Op, always


def swoosh(run, node, x):
    """x / (1 + exp(-1.5 x)) + exp(-x^2) / 4."""
    return x * run.sigmoid(1.5 * x) + 0.25 * run.exp(-x * x)


SWOOSH = Op(
    "swoosh",
    swoosh,
    table=True,
    negative=always,
    spellings={
        "torch": ("mpq_acme.torch_layers.swoosh", "mpq_acme.torch_layers.Swoosh"),
        "keras": ("swoosh", "Swoosh"),
    },
)


@hookimpl
def mpq_register_ops(register):
    register(SWOOSH)
