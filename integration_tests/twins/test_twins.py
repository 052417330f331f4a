"""One recipe, two frameworks: the same small network with the same weights in torch and in Keras."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
import mpq_tfmot
from mpq_plugins.errors import RecipeMismatch
from mpq_plugins.recipe.translation import translate
from mpq_tfmot.keras import keras
from mpq_torch import fx

layers = keras.layers
NAMES = {
    "x": "image",
    "conv1": "first",
    "conv2": "second",
    "dw": "depthwise",
    "add": "sum",
    "pool": "mean",
    "fc": "dense",
}
BACK = {new: old for old, new in NAMES.items()}
TARGET = "generic-po2-per-channel"


class Twin(nn.Module):
    """The torch one."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.dw = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(x + self.dw(F.relu(self.conv2(x))))
        return self.fc(torch.flatten(self.pool(x), 1))


def keras_twin():
    x = inputs = keras.Input((9, 9, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(x)
    x = layers.BatchNormalization(epsilon=1e-5, name="norm")(x)
    x = shortcut = layers.ReLU(name="relu1")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Add(name="sum")([shortcut, x])
    x = layers.ReLU(name="relu2")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, layers.Dense(5, name="dense")(x))


@pytest.fixture(scope="module")
def twins():
    """The torch model, the Keras model, and images for each."""
    generator = torch.Generator().manual_seed(0)
    model = Twin().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
        model.bn1.running_mean.copy_(torch.randn(8, generator=generator) * 0.2)
        model.bn1.running_var.copy_(torch.rand(8, generator=generator) + 0.5)
        model.bn1.weight.copy_(torch.rand(8, generator=generator) + 0.5)
    other = keras_twin()
    numbers = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    bn = [numbers[f"bn1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    other.get_layer("first").set_weights([numbers["conv1.weight"].transpose(2, 3, 1, 0)])
    other.get_layer("norm").set_weights(bn)
    other.get_layer("second").set_weights([numbers["conv2.weight"].transpose(2, 3, 1, 0), numbers["conv2.bias"]])
    other.get_layer("depthwise").set_weights([numbers["dw.weight"].transpose(2, 3, 0, 1), numbers["dw.bias"]])
    other.get_layer("dense").set_weights([numbers["fc.weight"].T, numbers["fc.bias"]])
    images = np.random.default_rng(0).normal(size=(64, 9, 9, 3)).astype(np.float32)
    return model, other, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), images


def test_the_float_models_agree(twins):
    model, other, x, images = twins
    np.testing.assert_allclose(other(images), model(x).detach(), atol=1e-5)


def test_the_inventories_are_equal_but_for_names_and_layout(twins):
    model, other, x, _ = twins
    ours, theirs = fx.inventory(model, x), mpq_tfmot.inventory(other)
    for site in ours:
        twin = theirs[f"{NAMES[site.name.removesuffix('.weight')]}{'.weight' if site.kind == 'weight' else ''}"]
        assert (twin.kind, twin.op, twin.elements, twin.macs, twin.channels, twin.signed) == (
            site.kind,
            site.op,
            site.elements,
            site.macs,
            site.channels,
            site.signed,
        )
        assert (twin.group is None) == (site.group is None)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_both_searches_find_the_same_recipe(twins, bits):
    model, other, x, images = twins
    ours = fx.search(model, [x], TARGET, weight_bits=bits, activation_bits=8)
    theirs = mpq_tfmot.search(other, images, TARGET, weight_bits=bits, activation_bits=8)
    assert dict(translate(ours, mpq_tfmot.inventory(other), NAMES).items()) == dict(theirs.items())
    assert dict(translate(theirs, fx.inventory(model, x), BACK).items()) == dict(ours.items())


@pytest.mark.parametrize("bits", [3, 4.5])
def test_both_searches_find_the_same_bits_under_a_budget(twins, bits):
    model, other, x, images = twins
    budget = mpq.Budget(average_weight_bits=bits)
    ours = fx.search(model, [x], TARGET, budget, activation_bits=8)
    theirs = mpq_tfmot.search(other, images, TARGET, budget, activation_bits=8)
    assert dict(translate(ours, mpq_tfmot.inventory(other), NAMES).items()) == dict(theirs.items())


@pytest.mark.parametrize("bits", [3, 8])
def test_a_recipe_of_one_simulates_the_same_numbers_on_the_other(twins, bits):
    model, other, x, images = twins
    ours = fx.search(model, [x], TARGET, weight_bits=bits, activation_bits=8)
    theirs = translate(ours, mpq_tfmot.inventory(other), NAMES)
    with torch.no_grad():
        wanted = fx.simulate(model, ours)(x)
    np.testing.assert_allclose(mpq_tfmot.simulate(other, theirs).predict(images), wanted, atol=1e-6)
    back = translate(
        mpq_tfmot.search(other, images, TARGET, weight_bits=bits, activation_bits=6), fx.inventory(model, x), BACK
    )
    with torch.no_grad():
        got = fx.simulate(model, back)(x)
    forth = translate(back, mpq_tfmot.inventory(other), NAMES)
    np.testing.assert_allclose(mpq_tfmot.simulate(other, forth).predict(images), got, atol=1e-6)


def test_compensated_rounding_gives_both_the_same_numbers(twins):
    model, other, x, images = twins
    ours = fx.search(model, [x], TARGET, weight_bits=4, activation_bits=8)
    theirs = translate(ours, mpq_tfmot.inventory(other), NAMES)
    with torch.no_grad():
        wanted = fx.simulate(fx.constrain(model, ours, [x]), ours)(x).numpy()
    got = mpq_tfmot.simulate(mpq_tfmot.constrain(other, theirs, images), theirs).predict(images)
    np.testing.assert_array_equal(got, wanted)


def test_a_name_map_that_leaves_sites_over_is_refused(twins):
    model, other, x, _ = twins
    ours = fx.search(model, [x], TARGET, weight_bits=4, activation_bits=8)
    with pytest.raises(RecipeMismatch, match="conv1"):
        translate(ours, mpq_tfmot.inventory(other), {"x": "image"})
