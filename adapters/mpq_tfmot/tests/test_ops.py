"""The array functions of trainable methods in TensorFlow agree with the NumPy reference, values and gradients."""

import numpy as np
import pytest

from mpq_plugins.array_ops.reference import NUMPY, fake_quantize_gradients
from mpq_plugins.errors import MPQError
from mpq_plugins.testing.gradient_cases import NOISY, gradient_cases
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import tf

CASES = gradient_cases()
MODES = {"eager": lambda f: f, "function": tf.function, "xla": lambda f: tf.function(f, jit_compile=True)}


def value_and_gradients(case, mode="eager", dtype=tf.float32):
    return MODES[mode](lambda *arguments: run(case, *arguments))(*arguments_of(case, dtype))


def run(case, x, step, low, high, upstream):
    with tf.GradientTape() as tape:
        tape.watch((x, step, low, high))
        y = OPS.fake_quantize(x, step, low, high, **case.options)
    return y, tape.gradient(y, (x, step, low, high), upstream)


def arguments_of(case, dtype=tf.float32):
    arguments = [tf.constant(a) for a in (case.x, case.step, case.low, case.high, case.upstream)]
    arguments[0], arguments[-1] = tf.cast(arguments[0], dtype), tf.cast(arguments[-1], dtype)
    return arguments


def check(case, y, found, atol=1e-5):
    expected = case.gradients()
    np.testing.assert_allclose(y, case.value(), rtol=1e-6, atol=1e-7)
    for gradient, wanted in zip(found, (expected.x, expected.step, expected.low, expected.high), strict=True):
        assert gradient.shape == wanted.shape
        np.testing.assert_allclose(gradient, wanted, rtol=2e-5, atol=atol)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_primitive_has_the_values_and_gradients_of_the_reference(case):
    check(case, *value_and_gradients(case))


@pytest.mark.parametrize("mode", ["function", "xla"])
def test_so_it_has_when_compiled(mode):
    cases = [case for case in CASES if case.name.startswith(("random", "ties", "surrogate-ewgs", "on-the-tie"))]
    # one function of them all: XLA takes a third less time than for each by itself
    together = MODES[mode](lambda given: [run(case, *one) for case, one in zip(cases, given, strict=True)])
    for case, found in zip(cases, together([arguments_of(case) for case in cases]), strict=True):
        check(case, *found)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_tensors_meet_single_precision_parameters(dtype):
    case = next(case for case in CASES if case.name == "random-signed-tensor-plain")
    y, found = value_and_gradients(case, "function", dtype)
    assert y.dtype == found[0].dtype == dtype
    assert found[1].dtype == tf.float32
    x, upstream = (tf.cast(tf.cast(a, dtype), tf.float64).numpy() for a in (case.x, case.upstream))
    wanted = fake_quantize_gradients(x, case.step, case.low, case.high, upstream)
    np.testing.assert_array_equal(tf.cast(y, tf.float64), NUMPY.fake_quantize(x, 0.25, -8.0, 7.0))
    np.testing.assert_array_equal(tf.cast(found[0], tf.float64), wanted.x)
    np.testing.assert_allclose(found[1], wanted.step, rtol=1e-4)


def test_step_low_and_high_may_be_plain_numbers_or_variables():
    x = tf.constant([0.3, 5.0])
    step = tf.Variable(0.5)
    with tf.GradientTape() as tape:
        y = OPS.fake_quantize(x, step, -4, 3)
    assert y.numpy().tolist() == [0.5, 1.5]
    np.testing.assert_allclose(tape.gradient(y, step), (1 - 0.6) + 3)


@pytest.mark.parametrize("rounding", NOISY)
def test_noisy_surrogates_stay_within_their_strength(rounding):
    x = tf.random.stateless_normal((500,), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = OPS.fake_quantize(x, 0.25, -100, 100, rounding, 0.1)
    factor = tape.gradient(y, x).numpy()
    assert 0 < np.std(factor) < 0.15
    assert abs(np.mean(factor) - 1) < 0.02


def test_powers_and_logarithms_of_two_are_exact():
    whole = np.arange(-120, 121).astype(np.float32)
    powers = np.ldexp(np.float32(1), whole.astype(int)).astype(np.float32)
    for mode in MODES.values():
        np.testing.assert_array_equal(mode(OPS.exp2)(tf.constant(whole)), powers)
        np.testing.assert_array_equal(mode(OPS.log2)(tf.constant(powers)), whole)
    between = np.linspace(-5, 5, 101, dtype=np.float32)
    np.testing.assert_allclose(OPS.exp2(tf.constant(between)), np.exp2(between), rtol=1e-6)
    np.testing.assert_allclose(OPS.log2(tf.exp(between)), np.log2(np.exp(between)), rtol=1e-5, atol=1e-6)


def test_powers_and_logarithms_of_two_have_their_gradients():
    x = tf.constant([0.5, 1.0, 2.5, 8.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        power, log = OPS.exp2(x), OPS.log2(x)
    np.testing.assert_allclose(tape.gradient(power, x), np.exp2(x) * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(log, x), 1 / (x.numpy() * np.log(2)), rtol=1e-6)


def test_roundings_pass_back_what_they_say():
    x, g = tf.constant([0.25, -1.3, 2.5]), tf.constant([1.0, -2.0, 5.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        results = {
            "round": OPS.round(x, "ewgs", 0.5),
            "ceil": OPS.ceil(x),
            "limit": OPS.limit_gradient(x, 1.5),
            "floor": OPS.floor(x),
        }
    got = {name: tape.gradient(y, x, g) for name, y in results.items()}
    np.testing.assert_array_equal(results["round"], [0, -1, 2])
    # ewgs: g * (1 + delta * sign(g) * e) with e = x - round(x)
    np.testing.assert_allclose(got["round"], [1.125, -2 * (1 + 0.5 * 0.3), 5 * 1.25], rtol=1e-6)
    np.testing.assert_array_equal(results["ceil"], [1, -1, 3])
    np.testing.assert_array_equal(got["ceil"], g)
    np.testing.assert_array_equal(got["limit"], [1, -1.5, 1.5])
    assert got["floor"] is None


def test_every_other_function_is_numpys():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for name in ("exp", "abs", "sign", "sin", "tanh", "sigmoid", "relu", "floor", "softmax", "sum", "mean", "max"):
        np.testing.assert_allclose(getattr(OPS, name)(tf.constant(x)), getattr(NUMPY, name)(x), rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(OPS.argmax(tf.constant(x)), NUMPY.argmax(x, -1))
    np.testing.assert_array_equal(OPS.one_hot(OPS.argmax(tf.constant(x)), 4, x), NUMPY.one_hot(x.argmax(-1), 4, x))
    np.testing.assert_array_equal(OPS.sum(tf.constant(x), (0, 1)), tf.reduce_sum(x))
    assert OPS.array([1, 2], tf.constant(0.5)).dtype == OPS.cast(tf.constant([True]), x).dtype == tf.float32
    np.testing.assert_array_equal(OPS.gather(tf.constant(x), tf.constant([2, 0])), x[[2, 0]])
    counts = np.array([2, 1, 3])
    repeated = NUMPY.repeat(x, counts, 6)
    np.testing.assert_array_equal(OPS.repeat(tf.constant(x), tf.constant(counts), 6), repeated)
    sums = NUMPY.segment_sum(repeated, counts)
    alike = np.array([3.0, 0.0, 3.0, 1.0], np.float32)
    np.testing.assert_array_equal(NUMPY.count_alike(alike, 5), [2, 1, 2, 1])
    np.testing.assert_array_equal(OPS.count_alike(tf.constant(alike), 5), [2, 1, 2, 1])
    np.testing.assert_array_equal(OPS.segment_sum(tf.constant(repeated), tf.constant(counts)), sums)
    np.testing.assert_array_equal(OPS.move_axis(tf.constant(x), 1, 0), NUMPY.move_axis(x, 1, 0))
    assert OPS.uniform_like(tf.constant(x)).shape == (3, 4)


def test_an_unknown_rounding_is_refused():
    with pytest.raises(MPQError, match="nonsense"):
        OPS.fake_quantize(tf.constant([1.0]), 1.0, 0, 1, "nonsense")
