"""Arguments in the wrong order, of the wrong kind, or in the wrong shape: each gets one sentence with the way out."""

import numpy as np
import pytest
import torch
from torch import nn

import mpq_plugins as mpq
import mpq_torch
from mpq_torch import fx, litert, onnx

X = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Names:
    """What a hurried person has at hand."""

    def __init__(self):
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.model = nn.Sequential(*layers, nn.Linear(6, 4)).eval()
        self.recipe = self.search()
        self.on_grid = fx.constrain(self.model, self.recipe, [X])
        self.simulated = fx.simulate(self.on_grid, self.recipe)
        self.int8 = fx.quantize(self.on_grid, self.recipe, X)

    def search(self, calibration=(X,), model=None, target="torch-x86", **more):
        bits = {"weight_bits": 4, "activation_bits": 8, **more}
        return fx.search(model or self.model, calibration, target, **bits, progress=False)


@pytest.fixture(scope="module")
def names():
    return Names()


SEARCHES = {
    "target and calibration in turn": (lambda n: fx.search(n.model, "torch-x86", [X]), "a target is .* and not a list"),
    "a recipe for a target": (
        lambda n: n.recipe.save(n.folder / "r.json") or n.search(target=n.folder / "r.json"),
        "is no target: it says that it is 'mpq-recipe'",
    ),
    "a path for a table": (lambda n: n.search(latency="latency.json"), "a LatencyTable, which measure_latency returns"),
    "a path for a table in training": (
        lambda n: fx.Search(n.model, X, "torch-x86", method="po2_gradient", weight_bits=4, latency="latency.json"),
        "a LatencyTable, which measure_latency returns",
    ),
    "a tensor for bits": (
        lambda n: n.search(weight_bits=torch.tensor(4)),
        r"weight_bits is a whole .* got tensor\(4\)",
    ),
    "an array for bits": (
        lambda n: n.search(weight_bits=np.array(4)),
        r"weight_bits is a whole number.* got array\(4\)",
    ),
    "a generator for bits": (
        lambda n: n.search(weight_bits=(b for b in (2, 4))),
        "a whole number, several, .* got <generator",
    ),
    "a place for a pattern": (lambda n: n.search(weight_bits={0: 4}), "a mapping from patterns of site names"),
    "a layer for its weight": (
        lambda n: n.search(weight_bits={"0": 4, "*": 6}),
        r"'0', which matches no weight site; did you mean '0\.weight'\?",
    ),
    "a weight for an activation": (lambda n: n.search(activation_bits={"0.weight": 4}), "no activation site"),
    "a layer to keep": (lambda n: n.search(keep_float=n.model[5]), "keep_float takes names .* and not a Linear"),
    "layers to keep": (lambda n: n.search(keep_float=[nn.Linear]), "keep_float takes names .* and not a Linear"),
    "steps in a string": (
        lambda n: fx.Search(n.model, X, "torch-x86", mpq.Budget(average_weight_bits=4), steps="10"),
        "at least one step, got steps='10'",
    ),
    "a simulation for a model": (lambda n: n.search(model=n.simulated), "a simulation .*; pass the float model"),
    "a list of modules": (lambda n: n.search(model=nn.ModuleList([nn.Conv2d(3, 4, 1)])), "a ModuleList has no forward"),
    "samples for batches": (lambda n: n.search(list(X)), r"pass batches, as a DataLoader gives them, or x\[None\]"),
    "channels last": (lambda n: n.search(X.permute(0, 2, 3, 1)), r"pass x\.permute\(0, 3, 1, 2\)"),
    "bytes": (lambda n: n.search(X.to(torch.uint8)), r"the model takes floats: pass x\.float\(\)"),
    "another name": (lambda n: n.search({"image": X}), r"a dict holds arguments by their names in forward\(\): input"),
    "a sparse tensor": (lambda n: n.search(X.to_sparse()), r"sparse or nested; pass plain tensors \(to_dense\(\)\)"),
    "numbers that vanish": (lambda n: n.search(X * 1e-38), "a float32 holds .* the numbers of the model vanish"),
}
APPLICATIONS = {
    "no model": (lambda n: fx.simulate(None, n.recipe), r"a torch\.nn\.Module is needed, got NoneType"),
    "a simulation twice": (
        lambda n: fx.verify(n.simulated, n.simulated, X),
        "a converted model as its first .*, not a sim",
    ),
    "channels that differ": (lambda n: fx.verify(n.int8, n.simulated, X[:, :1]), r"\(4, 1, 12, 12\) do not go through"),
    "channels of integers": (
        lambda n: mpq_torch.verify_integers(mpq_torch.integers(n.on_grid, n.recipe, X), n.on_grid, n.recipe, X[:, :1]),
        r"\(2, 1, 12, 12\) do not go through",
    ),
    "a number for an ONNX path": (
        lambda n: onnx.export(n.model, n.search(target="onnxruntime"), X, 3),
        "model 3: expected",
    ),
    "a list for a LiteRT path": (
        lambda n: litert.export(n.model, n.search(target="litert-po2"), X, ["m"]),
        "cannot write the LiteRT model",
    ),
    "a model to be timed": (lambda n: fx.time_models(n.int8, X), "models to be timed are given by their names"),
    "a name for a shape": (lambda n: fx.synthetic_inputs(n.model, "torch-x86"), r"as \(3, 32, 32\), got 'torch-x86'"),
}


@pytest.mark.parametrize("mistake", [*SEARCHES, *APPLICATIONS])
def test_a_mistake_gets_a_sentence_with_the_way_out(mistake, names, tmp_path):
    names.folder = tmp_path
    call, said = (SEARCHES | APPLICATIONS)[mistake]
    with pytest.raises(mpq.MPQError, match=said):
        call(names)
