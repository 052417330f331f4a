"""KeepBest brings back the variables of the best epoch within the budget, whatever search stands before it."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpq_plugins import Budget
from mpq_plugins.errors import MPQError
from mpq_tfmot.keras import keras
from mpq_tfmot.training.best import KeepBest


def after(epochs, both=False):
    """The variable that is left; epochs: the accuracy and the average bits of each, the variable is its number."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    search = SimpleNamespace(budget=Budget(average_weight_bits=4))
    keep = KeepBest(search, both=both)
    keep.set_model(model)
    for number, (accuracy, bits) in enumerate(epochs):
        model.set_weights([np.full((1, 1), number, np.float32)])
        search.costs = lambda bits=bits: None if bits is None else {"average_weight_bits": bits}
        keep.on_epoch_end(number, {"val_accuracy": accuracy})
    keep.on_train_end()
    return int(model.get_weights()[0][0, 0])


def test_the_most_accurate_epoch_within_the_budget_is_kept():
    assert after([(0.5, 4.0), (0.9, 4.5), (0.7, 3.9), (0.6, 2.0)]) == 2


def test_where_none_is_within_the_budget_the_last_stays():
    assert after([(0.9, 5.0), (0.8, 4.5), (0.7, None)]) == 2


def test_hmqs_rule_asks_for_accuracy_and_compression_both():
    assert after([(0.5, 4.0), (0.9, 4.0), (0.6, 3.0)], both=True) == 2


def test_an_epoch_without_the_monitored_figure_is_refused_with_those_it_has():
    keep = KeepBest(SimpleNamespace(budget=None))
    with pytest.raises(MPQError, match="no 'val_accuracy', it has loss, accuracy; name one with monitor="):
        keep.on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})
