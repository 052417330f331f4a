"""What moves elements, and what is several kernels, is read from Keras with its own values, and is exact in LiteRT."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import clipping_recipe, float_values
from mpq_tfmot import litert, simulate
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model
from mpq_tfmot.tests.moving_networks import COMPOSED, MOVES, moved
from mpq_tfmot.tests.networks import samples


@pytest.mark.parametrize("name", [*MOVES, *COMPOSED])
def test_a_move_gives_keras_own_values_and_is_written_as_it_is_read(name):
    model = moved(name)
    x = samples(model, count=3)
    reading = read_model(model)
    assert reading.graph.float_ops == ()
    wanted = model.predict(x, verbose=0)
    written = write_model(reading)
    np.testing.assert_allclose(float_values(reading, x)[reading.graph.outputs[0]], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(written.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-5)
    again = read_model(written).graph
    assert {(n.name, n.op, n.shape) for n in again.nodes} == {(n.name, n.op, n.shape) for n in reading.graph.nodes}


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("name", [*MOVES, *COMPOSED])
def test_a_move_is_exact_in_litert(name, target):
    model = moved(name)
    x = samples(model, count=4)
    recipe = clipping_recipe(model, x, target, 4, 5)
    litert.verify(litert.export(model, recipe), simulate(model, recipe), x * 2).raise_if_different()


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-optimized"])
@pytest.mark.parametrize("name", ["in groups", "multiplied"])
def test_a_step_for_each_channel_is_exact_in_litert(name, target):
    model = moved(name)
    x = samples(model, count=4)
    recipe = clipping_recipe(model, x, target, 4, 5, per_channel=True)
    litert.verify(litert.export(model, recipe), simulate(model, recipe), x * 2).raise_if_different()
