"""What ATen calls the ops of two activations and the functions of one element, from their records' spellings."""

from __future__ import annotations

from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.registry import once_known
from mpq_torch.reader.spelled import of_package


def aten_names(op: Op) -> set[str]:
    """The names of an op, in place too.

    >>> sorted(aten_names(all_ops()["hardswish"]))
    ['hardswish', 'hardswish_']
    """
    spelled = [n for n in op.spellings.get("torch", ()) if not (n.startswith("nn.") or of_package(n))]
    names = {name.rpartition(".")[2].removesuffix("_") for name in spelled}
    return names | {f"{name}_" for name in names}


@once_known
def of_two() -> frozenset[str]:
    """The names of all ops of two activations."""
    return frozenset(name for op in all_ops().values() if op.arity == 2 and not op.steps for name in aten_names(op))


@once_known
def functions() -> frozenset[str]:
    """The names of all functions of one element; of those that torch has not, the words of the records."""
    return frozenset(name for op in all_ops().values() if op.table for name in (*aten_names(op), op.word))
