import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.errors import MPQError
from mpq_plugins.graph.folded_norms import fold_batch_norm


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]), st.booleans())
def test_the_folded_layer_gives_what_layer_and_batch_norm_give(seed, axis, biased):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(5, 3))
    weight = weight if axis == 0 else weight.T
    bias = rng.normal(size=5) if biased else None
    gamma, beta, mean = rng.normal(size=(3, 5))
    variance = rng.uniform(0.01, 3, size=5)
    x = rng.normal(size=(20, 3))

    def apply(w, b):
        return x @ (w.T if axis == 0 else w) + (0 if b is None else b)

    expected = (apply(weight, bias) - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    folded = fold_batch_norm(weight, bias, gamma, beta, mean, variance, 1e-3, axis=axis)
    np.testing.assert_allclose(apply(*folded), expected, rtol=1e-9, atol=1e-9)


def test_a_batch_norm_without_variance_is_refused():
    with pytest.raises(MPQError, match="variance"):
        fold_batch_norm(np.ones((1, 1)), None, [1.0], [0.0], [0.0], [0.0], 0.0)
