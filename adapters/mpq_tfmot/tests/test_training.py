"""Searching for grids in model.fit: what the one quantizer and the callback do for any method."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

from mpq_plugins import Budget
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import InfeasibleBudget, ModelError, MPQError, NonFiniteValues, PluginError
from mpq_plugins.training import noise
from mpq_tfmot import (
    QuantizeConfig,
    QuantizeScheme,
    SearchCallback,
    harden,
    litert,
    quantize_scope,
    simulate,
    verify,
)
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.training import BATCH, FOLLOWS, SEARCHES, compiled, data, fit, network, quantized
from mpq_tfmot.training.hosted import hosted_model
from mpq_tfmot.training.quantizers import GridQuantizer
from mpq_tfmot.training.tensor_bank import TensorBank

BITS = (2, 4, 8)


def by_site(model):
    return {one.site: one for one in hosted_model(model).hosted}


def state(one, name):
    return float(np.sum(one.variables[f"state_{name}"].numpy()))


def wrapping(name):
    """A layer that stands for TF-MOT's wrapper of a layer of this name."""
    wrapper = keras.layers.Layer()
    wrapper.layer = keras.layers.Layer(name=name)
    return wrapper


def test_the_host_does_all_that_a_method_asks_for(halving):
    model = quantized(halving.name, BITS)
    callback = SearchCallback(Budget(average_weight_bits=2), observe=2, record_every=1)
    fit(model, 4, callback)
    for site, one in by_site(model).items():
        trained = 4 if site.endswith("weight") else 2  # an activation starts after two steps
        assert state(one, "forwards") == trained
        # gradients of weights alone are shown to a method
        assert state(one, "backwards") == (trained if site.endswith("weight") else 0)
        assert one.clock == 4
        assert state(one, "fraction") == 1.0
        assert 0.1 * trained < state(one, "noises") < 2.9 * trained
    # the gradient of cost / limit to the bits of one weight is its share of the elements, over the limit
    for site, elements in {"conv.weight": 36, "fc.weight": 640}.items():
        share = elements / (36 + 640)
        parameters, _ = by_site(model)[site].numbers()
        np.testing.assert_allclose(parameters["wish"], 8 - 4 * 0.05 * 10 * share / 2, rtol=1e-5)
    assert [record.step for record in callback.history.records] == [0, 1, 2, 3, 4]
    assert callback.history.records[0].bits["fc.weight"] > callback.history.last.bits["fc.weight"]
    assert [record.controls["fraction"] for record in callback.history.records][:2] == [0.25, 0.5]


def test_the_draws_of_a_step_are_those_of_the_seed_the_site_and_the_step(halving):
    def draws(seed, site, step):
        quantizer = GridQuantizer((2, 4, 8), method=halving, seed=seed)
        variables = quantizer.build((None, 5), "output", wrapping(site))
        variables["clock"].assign(step)
        host = TensorBank(halving, [quantizer.slot], seed)
        (found,) = host.state([variables])["noise"].numpy().tolist()
        own = noise.draws(NUMPY, noise.counters(host.plain, "group", (3,), seed), noise.step_key(step))
        assert found == own[0].tolist()
        return found

    first = draws(0, "relu", 3)
    assert draws(0, "relu", 3) == first
    assert len({tuple(found) for found in (first, draws(1, "relu", 3), draws(0, "other", 3), draws(0, "relu", 4))}) == 4
    assert all(0 <= number < 1 for number in first)


def test_what_a_step_takes_of_the_parameters_is_the_methods_business(halving):
    model = quantized(type(halving)(push=0.5), BITS)
    fit(model, 4, SearchCallback(Budget(average_weight_bits=8)))
    assert {float(one.numbers()[0]["wish"]) for one in by_site(model).values() if one.weight is not None} == {6.0}
    with quantize_scope():
        clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert next(iter(by_site(clone).values())).quantizer.method == type(halving)(push=0.5)


def test_a_layer_without_a_quantizer_of_ours_counts_8_bits_and_trains_along(halving):
    inputs = keras.Input((8, 8, 1))
    annotate = tfmot.quantization.keras.quantize_annotate_layer
    config = QuantizeConfig(method=halving.name, weight_bits=BITS)
    x = annotate(keras.layers.Conv2D(4, 3, activation="relu", name="mine"), config)(inputs)
    x = annotate(keras.layers.Conv2D(4, 3, name="theirs"))(x)
    with quantize_scope():
        model = tfmot.quantization.keras.quantize_apply(
            keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
        )
    callback = SearchCallback(Budget(average_weight_bits=7.9), record_every=1)
    fit(compiled(model), 2, callback)
    assert callback.history.last.bits["theirs.weight"] == 8
    assert callback.history.last.bits["mine.weight"] < 8
    with pytest.raises(ModelError, match="theirs"):
        harden(model)


def test_layers_annotated_one_by_one_need_no_scheme_of_ours(halving):
    def annotated(layer):
        config = QuantizeConfig(halving.name, weight_bits=BITS, per_channel=False)
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config)

    x = inputs = keras.Input((8, 8, 1), name="image")
    x = annotated(keras.layers.Conv2D(4, 3, 2, activation="relu", name="conv"))(x)
    x = annotated(keras.layers.Dense(10, name="fc"))(keras.layers.Flatten(name="flat")(x))
    with quantize_scope():
        model = compiled(tfmot.quantization.keras.quantize_apply(keras.Model(inputs, x)))
    fit(model, 3, SearchCallback(Budget(average_weight_bits=4), observe=2))
    recipe = harden(model)
    assert recipe.average_weight_bits <= 4
    assert recipe["image"].threshold == 1  # what TF-MOT's layer saw of the images, 0 .. 1
    images, _ = data(2)
    verify(litert.export(model, recipe), simulate(model, recipe), images).raise_if_different()


@pytest.mark.parametrize("method", [*SEARCHES, *FOLLOWS])
def test_every_method_trains_hardens_and_converts_exactly(method):
    searches = method in SEARCHES
    weight_bits = {"conv.weight": 8, "*": BITS} if searches else 3
    model = quantized(method, weight_bits, per_channel=method in ("fdqmp", "po2_gradient"), signed_inputs=False)
    compiled(model, run_eagerly=method != "hmq")
    callback = SearchCallback(Budget(average_weight_bits=3) if searches else None, steps=4, observe=2, record_every=4)
    fit(model, 5, callback)
    recipe = harden(model)
    assert recipe == callback.recipe
    assert not recipe["image"].signed
    if searches:
        assert recipe.average_weight_bits <= 3
        assert recipe["conv.weight"].bits == 8
    images, _ = data(8)
    simulated = simulate(model, recipe)
    verify(litert.export(model, recipe), simulated, images * 2).raise_if_different()
    assert all(one.quantizer.method is None for one in hosted_model(model).hosted)


@pytest.mark.parametrize("method", ["hmq", "msqe"])
def test_inference_in_the_middle_of_a_search_is_on_the_grids_that_hardening_gives(method):
    model = quantized(method, BITS if method == "hmq" else 4, fold_batch_norms=False)
    fit(model, 4, SearchCallback(Budget(average_weight_bits=8), observe=2, steps=100))
    images, _ = data(2)
    before = model(images).numpy()
    recipe = harden(model)
    after = model(images).numpy()
    # biases lie on the accumulators' steps now: a code at the most, which the next layers may carry on
    assert np.mean(before != after) < 0.05
    # unfolded batch norms: bits are kept, and the recipe's thresholds are those of the folded weights
    own = {one.site: one.quantizer.grid(one.variables) for one in hosted_model(model).hosted}
    assert {site: grid.bits for site, grid in own.items()} == {site: recipe[site].bits for site in own}
    verify(litert.export(model, recipe), simulate(model, recipe), images).raise_if_different()


def test_a_search_that_is_stopped_and_loaded_ends_where_the_other_ends(tmp_path):
    def search():
        return SearchCallback(Budget(average_weight_bits=4), steps=5, observe=2)

    whole = quantized("hmq", BITS)
    fit(whole, 5, search())
    model = quantized("hmq", BITS)
    fit(model, 3, search())
    model.save(tmp_path / "stopped.keras")
    with quantize_scope():
        loaded = keras.models.load_model(tmp_path / "stopped.keras")
    fit(loaded, 2, search(), start=3)
    assert dict(harden(loaded).items()) == dict(harden(whole).items())
    for got, wanted in zip(loaded.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_it_saves_and_loads_in_the_middle_of_a_search(searched, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    searched.save(path)
    with quantize_scope():
        loaded = keras.models.load_model(path)
    images, _ = data(2)
    np.testing.assert_array_equal(loaded(images), searched(images))
    budget = Budget(average_weight_bits=3)
    wanted, got = (harden(m, budget=budget, freeze=False) for m in (searched, loaded))
    assert dict(got.items()) == dict(wanted.items())
    assert [one.clock for one in hosted_model(loaded).hosted] == [3] * 5


@pytest.fixture(scope="module")
def searched():
    """A model after three steps of a search."""
    model = quantized("hmq", BITS)
    fit(model, 3, SearchCallback(Budget(average_weight_bits=4), observe=2, steps=100))
    return model


def test_hardening_can_leave_the_model_searching_and_keeps_the_budget_it_is_given(searched):
    recipe = harden(searched, budget=Budget(average_weight_bits=2.1), freeze=False)
    assert recipe.average_weight_bits <= 2.1
    assert any(one.quantizer.method is not None for one in hosted_model(searched).hosted)
    assert harden(searched, freeze=False).average_weight_bits > 2.1  # the budget of its search


def test_the_history_goes_to_tensorboard(tmp_path, halving):
    model = quantized(halving.name, BITS)
    fit(model, 2, SearchCallback(Budget(average_weight_bits=4), record_every=1, log_dir=str(tmp_path)))
    (events,) = tmp_path.glob("events*")
    tags = {v.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for v in event.summary.value}
    assert {"mpq/penalty", "mpq/bits/fc.weight", "mpq/thresholds/conv", "mpq/controls/fraction"} <= tags


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_and_xla(dtype, halving):
    quantizer = GridQuantizer((2, 4, 8), weight=True, method=halving)
    variables = quantizer.build((2, 5), "kernel", wrapping("fc"))

    @tf.function(jit_compile=True)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = quantizer(x, True, variables)
        return y, tape.gradient(y, x)

    x = tf.cast(np.linspace(-1, 1, 10).reshape(2, 5), dtype)
    y, gradient = run(x)
    assert y.dtype == gradient.dtype == tf.as_dtype(dtype)
    step = float(variables["state_steps"][0, -1])
    np.testing.assert_array_equal(
        tf.cast(y, tf.float32) / step, np.clip(np.rint(tf.cast(x, tf.float32) / step), -128, 127)
    )
    assert float(variables["state_backwards"][0]) == 1


def test_a_model_of_mixed_precision_is_searched_and_converts_exactly(halving):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = quantized(halving.name, BITS)
        assert model.get_layer("quant_fc").layer.compute_dtype == "bfloat16"
        fit(model, 2, SearchCallback(Budget(average_weight_bits=8), observe=1))
        recipe = harden(model)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images, _ = data(2)
    verify(litert.export(model, recipe), simulate(model, recipe), images).raise_if_different()


def test_bits_may_be_left_to_the_target_and_rules_of_the_method_settle_some():
    from mpq_plugins.papers.hmq import Hmq

    budget = Budget(activation_bytes=100, average_weight_bits=4)
    model = quantized(Hmq(activation_rate=8.0), None, activation_bits=(4, 6, 8), budget=budget)
    found = by_site(model)
    assert found["fc.weight"].quantizer.bits == (2, 3, 4, 5, 6, 7, 8)
    # floor(32 * 64 / (8 * size)): the image and the convolution have 64 elements, fc has 10
    assert {site: found[site].quantizer.bits for site in ("image", "conv", "fc")} == {
        "image": (4,),
        "conv": (4,),
        "fc": (8,),
    }


def test_diverging_training_names_the_site_and_the_step():
    model = quantized("hmq", BITS)
    images, labels = data(3)
    images[BATCH + 2, 3, 3] = np.nan
    with pytest.raises(NonFiniteValues, match=r"step 1: .*'image'"):
        model.fit(
            images, labels, BATCH, verbose=0, shuffle=False, callbacks=[SearchCallback(Budget(average_weight_bits=4))]
        )


@pytest.mark.parametrize(
    ("bits", "message"), [((), "whole ones"), ((4, 2), "increase"), ((2, 2, 4), "increase"), ("48", "whole ones")]
)
def test_candidates_that_are_none_or_out_of_order_are_refused(bits, message):
    for name in ("weight_bits", "activation_bits"):
        with pytest.raises(MPQError, match=f"{name}.*{message}"):
            QuantizeConfig(method="hmq", **{name: bits})


def test_a_search_that_cannot_be_is_refused(searched):
    with pytest.raises(InfeasibleBudget, match="average"):
        fit(searched, 1, SearchCallback(Budget(average_weight_bits=1.5)))
    with pytest.raises(MPQError, match="no budget"):
        fit(searched, 1, SearchCallback())
    with pytest.raises(MPQError, match="at least 1"):
        SearchCallback(steps=0)
    endless = tf.data.Dataset.from_tensor_slices(data(1)).batch(4).filter(lambda *_: True)
    with pytest.raises(MPQError, match="steps per epoch is unknown"):
        searched.fit(endless, verbose=0, callbacks=[SearchCallback(Budget(average_weight_bits=4))])
    with pytest.raises(PluginError, match="nonsense"):
        QuantizeScheme(method="nonsense")
    with pytest.raises(MPQError, match="does not train"):
        QuantizeScheme(method="ohq")
    with pytest.raises(ModelError, match="no quantizer"):
        fit(compiled(network()), 1, SearchCallback())


def test_a_search_needs_steps_to_harden_and_a_checkpoint_of_its_own_method(searched, tmp_path):
    fresh = quantized("sdq", BITS)
    with pytest.raises(MPQError, match="not searched for a single step"):
        harden(fresh)
    searched.save_weights(tmp_path / "hmq.weights.h5")
    with pytest.raises(MPQError, match="another method"):
        fresh.load_weights(tmp_path / "hmq.weights.h5")
    quantized("po2_gradient", 4).save_weights(tmp_path / "po2_gradient")
    other = quantized("msqe", 4)
    other.load_weights(tmp_path / "po2_gradient").expect_partial()
    with pytest.raises(MPQError, match="checkpoint of another method"):
        harden(other)


@pytest.mark.parametrize("method", ["hmq", "po2_gradient"])
def test_dead_weights_and_dead_activations_train_and_convert(method):
    model = network()
    (kernel,) = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([np.zeros_like(kernel)])
    model = quantized(method, BITS if method in SEARCHES else 4, model)
    fit(model, 3, SearchCallback(Budget(average_weight_bits=8) if method in SEARCHES else None, observe=2))
    recipe = harden(model)
    images, _ = data(1)
    verify(litert.export(model, recipe), simulate(model, recipe), images).raise_if_different()


def test_two_methods_in_one_model_are_refused():
    def annotate(layer):
        config = QuantizeConfig(method="sdq", weight_bits=BITS) if layer.name == "fc" else None
        return tfmot.quantization.keras.quantize_annotate_layer(layer, config)

    with quantize_scope():
        annotated = keras.models.clone_model(network(), clone_function=annotate)
        model = tfmot.quantization.keras.quantize_apply(annotated, QuantizeScheme(method="hmq", weight_bits=BITS))
    with pytest.raises(MPQError, match="hmq, sdq"):
        fit(compiled(model), 1, SearchCallback(Budget(average_weight_bits=4)))


def test_a_layer_that_is_frozen_stays_frozen_and_its_grid_is_found_all_the_same(halving):
    model = network()
    model.get_layer("fc").trainable = False
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        scheme = QuantizeScheme(method=halving.name, weight_bits=BITS, budget=Budget(average_weight_bits=4))
        quantized_model = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    own = [v.name for v in quantized_model.trainable_variables if "move_" not in v.name]
    assert own
    assert not any(name.startswith("fc/") for name in own)
    before = {v.name: v.numpy() for v in quantized_model.get_layer("quant_fc").layer.weights}
    fit(compiled(quantized_model), 2, SearchCallback(Budget(average_weight_bits=4)))
    assert all(np.array_equal(v.numpy(), before[v.name]) for v in quantized_model.get_layer("quant_fc").layer.weights)


def test_variables_of_another_layout_are_refused_with_their_layer(halving):
    wrapper = quantized(halving.name, BITS).get_layer("quant_fc")
    store = {}
    wrapper.save_own_variables(store)
    wrapper.load_own_variables(store)
    name = next(key for key in store if "parameter_wish" in key and "kernel" in key)
    with pytest.raises(MPQError, match=r"layer 'quant_fc': .*parameter_wish has the shape \(\) .* and \(1,\) here"):
        wrapper.load_own_variables({**store, name: np.float32(8)})
