"""A search in Keras ends within its budget, uses it, and hardening moves nothing; its best epoch is brought back."""

import warnings

import numpy as np
import pytest

import mpq_plugins as mpq
import mpq_tfmot
from mpq_tfmot.tests.training import data, fit, quantized

BITS = (2, 3, 4, 6, 8)


@pytest.mark.parametrize("method", ["hmq", "sdq", "fdqmp"])
def test_a_search_settles_on_bits_that_use_the_budget_and_hardening_moves_none(method):
    model = quantized(method, BITS, activation_bits=8)
    callback = mpq_tfmot.SearchCallback(mpq.Budget(average_weight_bits=4), observe=2, record_every=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, 14, callback)
    said = [str(w.message) for w in caught if w.category is mpq.BudgetWarning]
    assert any("cannot reach the budget" in words for words in said) == (method != "hmq")
    assert method != "sdq" or "after 4 of the 8 steps" in said[1]
    spent = callback.history.last.resources["average_weight_bits"]
    assert 0.98 * 4 <= spent <= 4
    assert all(h.energy > 0 for h in mpq_tfmot.training.hosted.hosted_model(model).hosted if h.weight is not None)
    images = data(20)[0]
    before = model.predict(images, verbose=0)
    recipe = mpq_tfmot.harden(model)
    assert recipe.average_weight_bits == pytest.approx(spent, rel=1e-6)
    assert all("learned by" in entry.reason for entry in recipe.weights)
    assert np.mean(before.argmax(-1) == model.predict(images, verbose=0).argmax(-1)) > 0.98


def test_the_best_epoch_within_the_budget_is_brought_back():
    model = quantized("hmq", BITS, activation_bits=8)
    search = mpq_tfmot.SearchCallback(mpq.Budget(average_weight_bits=4), observe=2)
    best = mpq_tfmot.KeepBest(search, monitor="score")
    scores, seen = iter([0.9, 0.5, 0.8, 0.7]), []

    class Scored(mpq_tfmot.keras.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = next(scores)
            seen.append((search.costs()["average_weight_bits"], self.model.get_weights()))

    images, labels = data(6)
    model.fit(images, labels, 16, 4, 0, [search, Scored(), best], shuffle=False)
    assert seen[0][0] > 4  # the most accurate is over the budget
    assert best.best.accuracy == 0.8
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), seen[2][1], strict=True))
