"""The sites of Keras models: names, groups, signs, MACs."""

from mpq_tfmot import inventory
from mpq_tfmot.tests.networks import network


def test_a_layer_with_relu_is_unsigned_and_one_that_an_add_reads_is_signed():
    sites = inventory(network("residual"))
    assert not sites["conv1"].signed
    assert sites["conv2"].signed
    assert not sites["add"].signed
    assert sites["fc"].signed


def test_weights_are_named_after_their_layers_and_know_channels_inputs_and_macs():
    site = inventory(network("residual"))["conv1.weight"]
    assert (site.shape, site.channel_axis, site.channels) == ((3, 3, 3, 8), 3, 8)
    assert site.macs == 9 * 9 * 3 * 3 * 3 * 8
    assert site.inputs == ("image",)


def test_channels_of_a_depthwise_weight_lie_before_the_multiplier():
    site = inventory(network("mobile"))["depthwise.weight"]
    assert (site.shape, site.channel_axis, site.channels) == ((3, 3, 16, 1), 2, 16)
    assert site.op == "depthwise_conv2d"


def test_pooling_shares_the_grid_of_its_input_and_concat_those_of_all():
    sites = inventory(network("branches"))
    assert sites["a"].group == sites["b"].group == sites["cat"].group == sites["pool"].group
    assert sites["a"].group is not None
    assert inventory(network("residual"))["conv1"].group is None


def test_an_add_holds_three_buffers_at_once():
    live = inventory(network("residual")).live
    assert ("conv1", "conv2", "add") in live


def test_the_float_tail_has_no_site():
    sites = inventory(network("residual"))
    assert "fc" in sites
    assert "fc.activation" not in sites
