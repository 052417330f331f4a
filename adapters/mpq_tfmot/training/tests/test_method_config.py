"""A method in a model's configuration: its name, its hyper-parameters where they are of one's own, and back."""

import json
from dataclasses import dataclass, replace

import pytest

from mpq_plugins import plugins
from mpq_plugins.errors import MPQError
from mpq_tfmot.training.method_config import describe, method_of

CHANGES = {
    "hmq": {"rate": 0.1, "thresholds": 4},
    "sdq": {"quantizer": "dorefa", "blocks": ("layer1", "layer2")},
    "fdqmp": {"initial_bits": 6},
}


@pytest.mark.parametrize("name", [*CHANGES, "po2_gradient"])
def test_a_registered_method_is_its_name(name):
    method = plugins.method(name)
    assert describe(name) == describe(method) == name
    assert method_of(name) == method_of(method) == method


@pytest.mark.parametrize("name", CHANGES)
def test_hyper_parameters_of_ones_own_survive_json(name):
    method = plugins.method(name)
    changed = replace(method, **CHANGES[name])
    described = json.loads(json.dumps(describe(changed)))
    assert described["name"] == name
    assert method_of(described) == changed != method


def test_a_method_that_is_not_the_registered_one_could_not_be_loaded_and_is_refused():
    @dataclass(frozen=True)
    class Mine(type(plugins.method("hmq"))):
        pass

    with pytest.raises(MPQError, match="'hmq' is not the registered one; register Mine"):
        describe(Mine())
