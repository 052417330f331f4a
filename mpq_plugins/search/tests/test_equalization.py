"""Cross-layer equalization: factors by hand, and a network whose function must not change."""

import numpy as np
import pytest

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.search.equalization import Link, equalize, scale_exponents


def test_factors_even_out_both_ranges_to_within_a_power_of_two():
    # sqrt(r1 r2) / r2 of 1906.04721: (16, 1) -> 4, so both ranges become 4
    assert scale_exponents([16.0], [1.0], [1e9]).tolist() == [2]
    assert scale_exponents([1.0], [16.0], [1e-9], cap=6.0).tolist() == [-2]


def test_a_channel_at_the_cap_of_its_relu6_keeps_its_scale():
    assert scale_exponents([64.0], [1.0], [6.0], cap=6.0).tolist() == [0]


def test_no_channel_is_scaled_up_past_the_cap():
    # a peak of 2 may double, and no more, below a cap of 6
    assert scale_exponents([1.0], [1024.0], [2.0], cap=6.0).tolist() == [-1]


def test_without_a_cap_no_channel_outgrows_the_largest():
    assert scale_exponents([1.0, 1.0], [1024.0, 1.0], [2.0, 8.0]).tolist() == [-2, 0]


def test_dead_channels_keep_their_scale():
    assert scale_exponents([0.0, 1.0], [1.0, 0.0], [0.0, 1.0]).tolist() == [0, 0]


def test_ranges_that_do_not_belong_together_are_refused():
    with pytest.raises(MPQError, match="do not belong together"):
        scale_exponents([1.0], [1.0, 2.0], [1.0])
    with pytest.raises(NonFiniteValues):
        scale_exponents([np.nan], [1.0], [1.0])


def test_a_chain_keeps_its_function_and_gets_narrower_weights():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(16, 8)) * np.exp2(rng.integers(-4, 5, (16, 1))), rng.normal(size=(4, 16))
    bias = rng.normal(size=16)
    x = rng.normal(size=(8, 500))
    hidden = np.maximum(a @ x + bias[:, None], 0)
    outputs, inputs = {"a": np.abs(a).max(1)}, {"b": np.abs(b).max(0)}
    outputs["b"], inputs["a"] = np.abs(b).max(1), np.abs(a).max(0)
    exponents = equalize([Link("a", "b")], outputs, inputs, {"a": hidden.max(1)}, {"a": False, "b": False})["a"]
    factor = np.ldexp(1.0, exponents)
    scaled, other = a / factor[:, None], b * factor
    again = other @ np.maximum(scaled @ x + (bias / factor)[:, None], 0)
    np.testing.assert_array_equal(again, b @ hidden)
    spread = np.abs(scaled).max(1)
    assert spread.max() / spread.min() < np.abs(a).max(1).max() / np.abs(a).max(1).min()
    np.testing.assert_array_equal(outputs["a"], spread)


def test_ranges_move_through_a_depthwise_layer():
    outputs = {"a": np.array([16.0, 1.0]), "d": np.array([1.0, 1.0]), "b": np.array([1.0])}
    inputs = {"a": np.array([16.0]), "d": np.array([1.0, 1.0]), "b": np.array([1.0, 1.0])}
    peaks = {"a": np.array([1.0, 8.0]), "d": np.array([1.0, 64.0])}
    links = [Link("a", "d"), Link("d", "b")]
    exponents = equalize(links, outputs, inputs, peaks, {"a": False, "d": True, "b": False})
    # 16 -> 1 -> 1 evens out over all three: no neighbours differ by more than 4
    assert outputs["a"][0] / outputs["d"][0] <= 4
    assert exponents["a"][0] > 0
    assert exponents["d"][0] > 0
