"""Where a search in model.fit begins: on grids that hold what training computes, whatever running statistics say."""

import numpy as np
import pytest

from mpq_plugins import Budget
from mpq_plugins.errors import MPQError
from mpq_plugins.training.starting_grid import saturating
from mpq_tfmot import SearchCallback
from mpq_tfmot.tests.training import FOLLOWS, SEARCHES, fit, network, quantized
from mpq_tfmot.training.hosted import hosted_model

BITS = (2, 4, 8)


@pytest.mark.parametrize("method", [*SEARCHES, *FOLLOWS])
def test_a_network_whose_statistics_describe_no_batch_starts_on_grids_that_hold_its_activations(method):
    """A norm in training makes one deviation of what is as good as nothing by its running statistics."""
    model = network()
    model.get_layer("norm").moving_variance.assign([1e8] * 4)
    searches = method in SEARCHES
    model = quantized(method, BITS if searches else 4, model, fold_batch_norms=False)
    fit(model, 2, SearchCallback(Budget(average_weight_bits=4) if searches else None, observe=2, steps=100))
    activations = {one.site: one for one in hosted_model(model).hosted if one.weight is None}
    assert set(activations) == {"image", "conv", "fc"}
    grids, seen = ({s: getattr(one, what)() for s, one in activations.items()} for what in ("standing", "latest"))
    assert not saturating(grids, seen)
    assert 1 <= grids["conv"].threshold <= 16  # deviations
    fit(model, 2, SearchCallback(Budget(average_weight_bits=4) if searches else None, observe=2, steps=100))
    assert all(np.isfinite(variable).all() for variable in model.get_weights())


def test_an_activation_that_would_saturate_is_refused_by_name(halving, monkeypatch):
    start = type(halving).start

    def too_small(self, slot, observed):
        begun = start(self, slot, observed)
        begun.state["steps"] *= 2.0 ** -(20 if slot.kind == "activation" else 0)
        return begun

    monkeypatch.setattr(type(halving), "start", too_small)
    model = quantized(halving.name, BITS)
    with pytest.raises(MPQError, match=r"site 'image': .* of its values in training lie beyond the grid"):
        fit(model, 3, SearchCallback(Budget(average_weight_bits=4), observe=2))
