"""Einsums as nodes: what they compute is what NumPy's einsum does."""

import numpy as np
import pytest

from mpq_plugins.graph.einsum import einsum
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import CONSTANT, Batch
from mpq_plugins.graph.reducing import Reducing

RNG = np.random.default_rng(0)
OWN = {
    "bnd,dk->bnk": ((6, 8), (8, 5), ["linear"]),
    "bnd,kd->bnk": ((6, 8), (5, 8), ["linear"]),
    "bnd,nm->bmd": ((6, 8), (6, 4), ["linear"]),
    "bnd,dhk->bhnk": ((6, 8), (8, 2, 4), ["linear"]),
    "bhnk,hkd->bnd": ((2, 6, 4), (2, 4, 5), ["linear"]),
    "bnd,nd->b": ((6, 8), (6, 8), ["linear"]),
    "bgd,gdk->bgk": ((6, 8), (6, 8, 4), ["conv1d"]),
    "bngd,kgd->bgnk": ((3, 6, 8), (4, 6, 8), ["conv1d"]),
    "bnd,d->bnd": ((6, 8), (8,), ["affine"]),
    "bnd,n->bdn": ((6, 8), (6,), ["affine", "mul"]),
    "bn,k->bkn": ((6,), (4,), ["mul"]),
    "bnd,nd->bnd": ((6, 8), (6, 8), ["mul"]),
}
COMPUTES = ("mul", "linear", "conv1d", "affine")


def computed(nodes, values, layout):
    """The last node, in NumPy."""
    values = dict(values)
    for node in nodes:
        x = [values[name] for name in node.inputs]
        sizes = [2 if isinstance(size, Batch) else size for size in node.shape]
        if node.op == CONSTANT:
            y = node.attrs["value"]
        elif node.op == "reshape":
            y = x[0].reshape(sizes)
        elif node.op == "transpose":
            y = x[0].transpose(node.attrs["order"])
        elif node.op == "affine":
            y = x[0] * node.attrs["scale"]
        elif node.op == "conv1d":
            groups = node.attrs["groups"]
            signal = x[0] if layout == "NCHW" else x[0].transpose(0, 2, 1)
            parts = zip(np.split(signal, groups, 1), np.split(node.weight[:, :, 0], groups, 0), strict=True)
            y = np.concatenate([np.einsum("bcn,oc->bon", part, own) for part, own in parts], 1)
            y = y if node.bias is None else y + node.bias[:, None]
            y = y if layout == "NCHW" else y.transpose(0, 2, 1)
        else:
            x = [*x, node.weight.T] if node.op == "linear" else x
            y = {"mul": np.multiply, "linear": np.matmul, "add": np.add}[node.op](*x)
            y = y if node.bias is None else y + node.bias
        assert list(y.shape[1:]) == sizes[1:], node
        values[node.name] = y
    return values[nodes[-1].name]


def tensor(name, shape):
    return Part(name, (Batch(), *shape)), RNG.normal(size=(2, *shape))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("equation", OWN)
def test_an_einsum_with_a_constant_is_one_product_and_moves(equation, layout):
    first, second, ops = OWN[equation]
    (x, left), weight = tensor("x", first), RNG.normal(size=second)
    nodes = einsum(Reducing("y", layout), equation, x, weight)
    assert {node.op for node in nodes} & set(COMPUTES) <= set(ops)
    np.testing.assert_allclose(computed(nodes, {"x": left}, layout), np.einsum(equation, left, weight), atol=1e-5)
    terms, _, out = equation.partition("->")  # the constant first
    turned = f"{terms.partition(',')[2]},{terms.partition(',')[0]}->{out}"
    assert [node.op for node in einsum(Reducing("y", layout), turned, weight, x)] == [node.op for node in nodes]


BIASES = {
    "bnd,dhk->bnhk": ((6, 8), (8, 2, 4), [(2, 4), (2, 1), (4,), (6, 2, 4), (6, 1, 1)]),
    "bnd,dhk->bhnk": ((6, 8), (8, 2, 4), [(2, 1, 4), (6, 1)]),
    "bgd,gdk->bgk": ((6, 8), (6, 8, 4), [(6, 4), (4,), (6, 1)]),
    "bnd,nd->bnd": ((6, 8), (6, 8), [(6, 8), (8,)]),
}


@pytest.mark.parametrize("equation", BIASES)
def test_a_bias_is_that_of_the_layer_where_it_varies_with_the_outputs(equation):
    first, second, shapes = BIASES[equation]
    (x, values), weight = tensor("x", first), RNG.normal(size=second)
    for shape in shapes:
        bias = RNG.normal(size=shape)
        nodes = einsum(Reducing("y", "NHWC"), equation, x, weight, bias)
        wanted = np.einsum(equation, values, weight) + bias
        np.testing.assert_allclose(computed(nodes, {"x": values}, "NHWC"), wanted, atol=1e-5)
