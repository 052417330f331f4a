"""What ATen calls the ops of two activations and the functions of one element, from their records' spellings."""

from __future__ import annotations

from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops import all_ops


def aten_names(op: Op) -> set[str]:
    """The names of an op, in place too.

    >>> sorted(aten_names(all_ops()["hardswish"]))
    ['hardswish', 'hardswish_']
    """
    spelled = [name for name in op.spellings.get("torch", ()) if not name.startswith("nn.")]
    names = {name.rpartition(".")[2].removesuffix("_") for name in spelled}
    return names | {f"{name}_" for name in names}


OF_TWO = frozenset(name for op in all_ops().values() if op.arity == 2 for name in aten_names(op))
FUNCTIONS = frozenset(name for op in all_ops().values() if op.table for name in aten_names(op))
