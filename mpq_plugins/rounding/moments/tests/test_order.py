"""The order of the sweep, on random graphs listed in several orders."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.rounding.moments.order import sweep_order


def graph(seed):
    """Random inputs of some ops, and which are layers, which read one op each."""
    rng = random.Random(seed)
    names, inputs = [f"n{i}" for i in range(rng.randint(2, 15))], {}
    layers = {name for name in names[1:] if rng.random() < 0.5}
    for index, name in enumerate(names):
        count = 0 if index == 0 else 1 if name in layers else rng.randint(1, 2)
        inputs[name] = tuple(rng.choice(names[:index]) for _ in range(count))
    return inputs, layers, {name for name in layers if rng.random() < 0.3}


@given(st.integers(0, 10**6))
def test_every_op_comes_behind_what_it_reads(seed):
    inputs, layers, last = graph(seed)
    order = sweep_order(inputs, layers, last)
    assert sorted(order) == sorted(inputs)
    for name, sources in inputs.items():
        assert all(order.index(source) < order.index(name) for source in sources)


def test_the_deeper_branch_and_then_the_second_operand_come_last_however_ops_are_listed():
    edges = {"x": (), "a": ("x",), "b": ("a",), "short": ("x",), "add": ("b", "short"), "c": ("add",), "d": ("add",)}
    edges["sum"] = ("c", "d")
    layers, last = {"a", "b", "short", "c", "d"}, {"short", "d"}
    for listed in (list(edges), ["x", "short", "a", "b", "add", "d", "c", "sum"]):
        order = sweep_order({name: edges[name] for name in listed}, layers, last)
        assert order.index("short") < order.index("b")
        assert order.index("c") < order.index("d")
