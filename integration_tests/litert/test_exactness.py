"""A torch model as a .tflite gives the numbers of the core's simulation: every pair of bits, both kinds of kernels."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from integration_tests.litert.networks import NETWORKS, settled
from mpq_plugins.exporters.litert.flatbuffer import unpacked
from mpq_plugins.exporters.litert.running import run_litert
from mpq_torch import fx, litert

TARGETS = ["litert-po2", "litert-po2-reference", "litert-po2-optimized"]


def pairs_on(target, weight_bits):
    """The bits of activations beside these of weights: all on the default kernels, a third on each of the others."""
    others = TARGETS.index(target)
    return [bits for bits in range(2, 9) if not others or (weight_bits + 2 * bits) % 3 == others]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_one_of_a_residual_a_mobile_and_a_transposed_network(weight_bits, target):
    networks = [(settled(kind(), weight_bits), x) for kind, x in NETWORKS.values()]
    for activation_bits in pairs_on(target, weight_bits):
        model, x = networks[(weight_bits + activation_bits) % len(networks)]
        recipe = fx.search(
            model, [x], target, weight_bits=weight_bits, activation_bits=activation_bits,
            per_channel=(weight_bits + activation_bits) % 2 == 0, progress=False,
        )  # fmt: skip
        # inputs past the thresholds too
        litert.verify(litert.export(model, recipe, x), model, 1.5 * x, recipe).raise_if_different()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_constrain_returned_is_exact_too_and_all_arithmetic_is_on_integers(name):
    kind, x = NETWORKS[name]
    model = settled(kind())
    recipe = fx.search(model, [x], "litert-po2", weight_bits=4, activation_bits=6, progress=False)
    on_grid = fx.constrain(model, recipe, [x])
    flat = litert.export(on_grid, recipe, x)
    litert.verify(flat, on_grid, [x], recipe).raise_if_different()
    file = unpacked(flat)
    graph, names = file.subgraphs[0], {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    floats = {
        names[file.operatorCodes[op.opcodeIndex].builtinCode]
        for op in graph.operators
        if all(graph.tensors[i].type == schema.TensorType.FLOAT32 for i in (op.inputs[0], *op.outputs))
    }
    assert floats == ({"SOFTMAX"} if name == "unet" else set())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layout_of_inputs_and_results_can_be_kept_and_changes_no_number(name):
    kind, x = NETWORKS[name]
    model = settled(kind())
    recipe = fx.search(model, [x], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    kept = litert.export(model, recipe, x, keep_layout=True)
    litert.verify(kept, model, [x], recipe).raise_if_different()
    first = run_litert(kept, x.numpy())[0]
    last = run_litert(litert.export(model, recipe, x), x.numpy().transpose(0, 2, 3, 1))[0]
    np.testing.assert_array_equal(first, last.transpose(0, 3, 1, 2) if last.ndim == 4 else last)
