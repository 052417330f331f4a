from mpq_torch import fx
from mpq_torch.tests.networks import Branches, Mobile, Residual, Shared, Signal, Upsampler, network


def inventory_of(kind):
    return fx.inventory(*network(kind))


def test_sites_carry_op_shape_macs_and_the_input_that_a_weight_multiplies():
    inventory = inventory_of(Residual)
    conv2 = inventory["conv2.weight"]
    assert (conv2.op, conv2.shape, conv2.inputs, conv2.channel_axis) == (
        "conv2d",
        (12, 8, 3, 3),
        ("conv1",),
        0,
    )
    assert conv2.macs == 12 * 8 * 9 * 5 * 5
    assert inventory["fc.weight"].macs == 60
    assert [s.name for s in inventory.weights] == ["conv1.weight", "conv2.weight", "fc.weight"]
    assert inventory["x"].shape == (3, 9, 9)
    assert inventory["add"].inputs == ("conv2", "pad")


def test_an_output_behind_a_relu_is_unsigned_and_an_add_of_signed_values_is_signed():
    inventory = inventory_of(Mobile)
    assert not inventory["expand.0"].signed
    assert not inventory["depthwise.0"].signed
    assert inventory["project.0"].signed
    assert inventory["stem.2"].signed
    assert inventory["add"].signed
    assert inventory["depthwise.0.weight"].op == "depthwise_conv2d"


def test_an_input_is_signed_when_its_data_is():
    model, x = network(Residual)
    assert fx.inventory(model, x)["x"].signed
    assert not fx.inventory(model, x.abs())["x"].signed


def test_what_a_concat_reads_and_writes_and_what_pooling_keeps_share_one_group():
    inventory = inventory_of(Branches)
    groups = inventory.groups()
    assert [s.name for s in groups[inventory["cat"].group]] == ["a", "b", "cat", "pool"]
    assert all(inventory[name].signed for name in ("a", "b", "cat", "pool"))


def test_the_calls_of_a_shared_layer_share_one_group_and_one_weight():
    inventory = inventory_of(Shared)
    assert [s.name for s in inventory.weights] == ["conv.weight", "fc.weight"]
    assert inventory["conv"].group == inventory["conv__call1"].group
    assert inventory["conv.weight"].inputs == ("x", "conv")
    assert inventory["conv.weight"].macs == 2 * 4 * 4 * 9 * 36


def test_a_transposed_convolution_counts_macs_by_its_inputs_and_has_its_channels_on_axis_one():
    site = inventory_of(Upsampler)["up.weight"]
    assert (site.op, site.channel_axis, site.macs) == ("conv_transpose2d", 1, 3 * 4 * 9 * 25)


def test_functional_layers_are_sites_named_after_their_scope_and_function():
    names = [s.name for s in inventory_of(Signal).weights]
    assert names == ["down.weight", "up.weight", "conv1d.weight", "linear.weight"]


def test_a_tensor_is_live_from_its_op_to_its_last_reader():
    inventory = inventory_of(Residual)
    assert inventory.live == (
        ("x",),
        ("x", "conv1"),
        ("conv1", "conv2"),
        ("conv1", "conv2", "getitem"),
        ("conv2", "getitem", "pad"),
        ("conv2", "pad", "add"),
        ("add", "avg_pool2d"),
        ("avg_pool2d", "fc"),
    )


def test_the_inventory_does_not_depend_on_the_batch_size():
    model, x = network(Mobile)
    assert fx.inventory(model, x) == fx.inventory(model, x[:1])
