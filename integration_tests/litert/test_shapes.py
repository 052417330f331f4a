"""What a layout, a padding or a kernel could get wrong, one thing at a time; and the float ends of a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.litert.cases import CASES, IMAGES, Small
from integration_tests.litert.networks import images, settled
from mpq_plugins.exporters.litert.running import interpreter, run_litert
from mpq_plugins.graph.simulation import Simulation
from mpq_torch import fx, litert
from mpq_torch.reader.fitting import read_quantized


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("name", CASES)
def test_every_case_is_exact(name, target):
    make, x = CASES[name]
    model = settled(make())
    for bits in ((8, 8), (3, 5)):
        recipe = fx.search(model, [x], target, weight_bits=bits[0], activation_bits=bits[1], progress=False)
        for keep in (False, True):
            flat = litert.export(model, recipe, x, keep_layout=keep)
            litert.verify(flat, model, 1.4 * x, recipe).raise_if_different()


def test_the_groups_of_a_transposed_convolution_are_exact():
    grouped = nn.ConvTranspose2d(8, 16, 3, 2, 1, groups=4)
    model = settled(Small(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(3, 8, 3), b=grouped))
    recipe = fx.search(
        model, [IMAGES], "litert-po2", weight_bits=4, activation_bits=8, per_channel=False, progress=False
    )
    litert.verify(litert.export(model, recipe, IMAGES), model, IMAGES, recipe).raise_if_different()


ENDS = {
    "softmax_of_channels": (lambda y: F.softmax(y, dim=1)),
    "softmax_of_rows": (lambda y: torch.softmax(y, 2)),
    "softmax_method": (lambda y: y.softmax(-1)),
    "log_softmax": (lambda y: F.log_softmax(y, dim=-3)),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "a_clamp_of_a_softmax": (lambda y: F.softmax(y, 1).clamp(0.1, 0.2)),
    "a_flat_softmax": (lambda y: torch.flatten(F.softmax(y, 1), 1)),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", ENDS)
def test_a_float_end_computes_on_the_axis_that_the_model_names(name, keep):
    model = settled(Small(lambda m, x: ENDS[name](m.a(x)), a=nn.Conv2d(3, 8, 3)))
    recipe = fx.search(model, [IMAGES], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    given = IMAGES if keep else IMAGES.permute(0, 2, 3, 1)
    got = torch.from_numpy(run_litert(litert.export(model, recipe, IMAGES, keep_layout=keep), given.numpy())[0])
    reading, quantized = read_quantized(model, recipe, (IMAGES,))
    (wanted,) = Simulation(quantized, reading.runner).outputs([IMAGES])
    got = got.permute(0, 3, 1, 2) if got.dim() == 4 and not keep else got
    np.testing.assert_allclose(got, wanted.detach(), atol=2e-6)


def names_of(flat):
    (signature,) = interpreter(flat).get_signature_list().values()
    return signature


class Named(nn.Module):
    """Two arguments, and a mapping of results."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Linear(448, 5), nn.Linear(4, 5)

    def forward(self, image, other):
        y = self.b(torch.flatten(self.a(image), 1))
        return {"scores": y + self.c(other), "first": y}


def test_the_signature_has_the_names_of_arguments_and_results():
    model, x = settled(Named()), (IMAGES, torch.randn(12, 4))
    recipe = fx.search(model, [x], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    flat = litert.export(model, recipe, x)
    assert names_of(flat) == {"inputs": ["image", "other"], "outputs": ["first", "scores"]}
    litert.verify(flat, model, [x], recipe).raise_if_different()
    runner = interpreter(flat).get_signature_runner("serving_default")
    found = runner(image=x[0][:1].permute(0, 2, 3, 1).numpy(), other=x[1][:1].numpy())
    reading, quantized = read_quantized(model, recipe, x)
    wanted = reading.structured(Simulation(quantized, reading.runner).outputs(x))
    for name in ("scores", "first"):
        np.testing.assert_array_equal(found[name], wanted[name][:1])


def test_any_number_of_images_goes_through_one_file():
    make, x = CASES["max_pools_padded_and_rounded_up"]
    model = settled(make())
    recipe = fx.search(model, [x], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    flat, more = litert.export(model, recipe, x[:1]), images(70, 3, 13, 12)
    together = run_litert(flat, more.permute(0, 2, 3, 1).numpy())[0]
    alone = run_litert(flat, more.permute(0, 2, 3, 1).numpy(), batch_size=1)[0]
    np.testing.assert_array_equal(together, alone)


def test_verify_names_the_first_site_that_differs():
    model = settled(Small(lambda m, x: m.b(F.relu(m.a(x))), a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(8, 4, 3)))
    recipe = fx.search(model, [IMAGES], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    flat = litert.export(model, recipe, IMAGES)
    with torch.no_grad():
        model.b.bias += 0.5
    found = litert.verify(flat, model, IMAGES, recipe)
    assert not found.exact
    assert found.first_differing_site == "b"


def test_a_recipe_of_another_target_with_its_grids_taken_over_is_written():
    model = settled(Small(lambda m, x: m.a(x), a=nn.Conv2d(3, 8, 3)))
    recipe = fx.search(model, [IMAGES], "generic-po2", weight_bits=5, activation_bits=5, progress=False)
    recipe = replace(recipe, target="litert-po2")
    litert.verify(litert.export(model, recipe, IMAGES), model, IMAGES, recipe).raise_if_different()
