"""Models that are called by name, with dicts, with plain values, and with arguments that have a module's name."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.fx import GraphModule

from mpq_plugins import Recipe
from mpq_plugins.errors import ModelError
from mpq_torch import fx, pt2e
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batch
from mpq_torch.reader import tracers
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.tracing import trace
from mpq_torch.reader.user_code import NotTraced


@dataclass
class Found:
    scores: torch.Tensor
    add: torch.Tensor


class ByName(nn.Module):
    """An argument by name only, one with the name of a module, one with the name of a function, and plain ones."""

    def __init__(self):
        super().__init__()
        self.image, self.other, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, image, times=1, flag=None, *, add):
        y = self.image(image).relu()
        for _ in range(times):
            y = y + self.other(add)
        return Found(self.last(y if flag is None else -y), y)


class OfOneDict(ByName):
    def forward(self, batch):
        return super().forward(batch["image"], add=batch["more"]["add"])


def given(seed, samples=5):
    torch.manual_seed(seed)
    return {"image": torch.randn(samples, 4), "add": torch.randn(samples, 4), "label": torch.zeros(samples)}


def nested(seed):
    return {"image": given(seed)["image"], "more": {"add": given(seed)["add"]}}


CASES = {
    "by name": (
        ByName,
        lambda seed: {**given(seed), "times": 2},
        {"image_argument", "add", "image", "other__call1", "add_op"},
    ),
    "one dict": (OfOneDict, nested, {"image_argument", "more_add", "image", "other", "add"}),
}


@pytest.fixture(params=["torch.fx", "torch.export"])
def reader(request, monkeypatch):
    if request.param == "torch.export":
        monkeypatch.setattr(tracers, "trace", stopped)


def stopped(model, *given):
    if isinstance(model, GraphModule):
        return trace(model, *given)
    raise NotTraced("torch.fx is left out", "")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("verbs", "target"), [(fx, "torch-x86"), (pt2e, "torch-pt2e")])
def test_every_verb_takes_batches_as_the_model_takes_them(case, verbs, target, reader):
    kind, batch, sites = CASES[case]
    model, batches = kind().eval(), [batch(0), batch(1)]
    recipe = verbs.search(model, batches, target, weight_bits=4, activation_bits=6, progress=False)
    assert sites <= {entry.site for entry in recipe.activations}
    recipe = Recipe.from_json(recipe.to_json())
    on_grid = verbs.constrain(model, recipe, batches)
    simulated = verbs.simulate(model, recipe)
    assert isinstance(verbs.quantize(model, recipe)(*as_batch(batch(2), takes_of(on_grid))), Found)
    converted = verbs.quantize(on_grid, recipe, batches[0])
    verbs.verify(converted, on_grid, [batch(2)], recipe).raise_if_different()
    verbs.verify(verbs.quantize(model, recipe), simulated, [batch(3)]).raise_if_different()


def test_a_search_by_training_is_called_as_the_model_is():
    search = fx.Search(OfOneDict(), nested(0), "torch-x86", method="po2_gradient", weight_bits=4, activation_bits=6)
    assert search.model(nested(1)).scores.shape == (5, 3)
    search = fx.Search(ByName(), given(0), "torch-x86", method="po2_gradient", weight_bits=4, activation_bits=6)
    assert search.model(image=given(1)["image"], add=given(1)["add"]).scores.shape == (5, 3)


def test_a_plain_value_that_decided_what_the_model_is_may_not_be_another(reader):
    model = ByName().eval()
    recipe = fx.search(model, [{**given(0), "times": 2}], "torch-x86", weight_bits=4, activation_bits=6, progress=False)
    assert {taken.name: taken.value for taken in recipe.inputs if taken.dtype == "plain"} == {"times": 2, "flag": None}
    simulated = fx.simulate(model, recipe)
    x = given(1)
    assert torch.equal(simulated(x["image"], add=x["add"]).add, simulated(x["image"], 2, None, add=x["add"]).add)
    with pytest.raises(ModelError, match="argument times is 3, and the model was read with 2, which decides"):
        simulated(x["image"], 3, add=x["add"])
    with pytest.raises(ModelError, match="argument add has to be a tensor, and is 1"):
        simulated(x["image"], add=1)


def test_an_argument_keeps_its_name_beside_a_norm_that_is_folded_away():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, norm):
            return self.norm(self.conv(norm))

    model, x = Folded().eval(), torch.randn(2, 1, 5, 5)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=6, progress=False)
    written = fx.constrain(model, recipe)
    assert [node.name for node in read_model(written, (x,)).graph.arguments] == ["norm_argument"]
    fx.verify(fx.quantize(written, recipe, x), written, [x], recipe).raise_if_different()


@pytest.mark.parametrize(("verbs", "target"), [(fx, "torch-x86"), (pt2e, "torch-pt2e")])
def test_a_converted_model_may_be_given_what_the_model_itself_may(verbs, target):
    model, x = ByName().eval(), given(1)
    recipe = verbs.search(model, [given(0)], target, weight_bits=4, activation_bits=6, progress=False)
    converted = verbs.quantize(model, recipe)
    wanted = converted(x["image"], 1, None, add=x["add"])
    assert torch.equal(converted(x["image"], add=x["add"]).add, wanted.add)
    assert torch.equal(converted(add=x["add"], image=x["image"], flag=None).add, wanted.add)
