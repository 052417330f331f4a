"""Where the rows of a bank's groups lie: sums, spreads and shapes against plain NumPy on each tensor."""

import numpy as np
import pytest

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import MPQError
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.bank import Bank, banks_of
from mpq_plugins.training.slot import Slot

CHANNELS = (Candidate(4, True, True),)
CONV = Slot("conv", "weight", (4, 3, 2, 2), CHANNELS, 0, 1)
KERAS = Slot("keras", "weight", (2, 2, 3, 5), CHANNELS, 3, 2)
DEPTHWISE = Slot("depthwise", "weight", (3, 3, 6, 1), CHANNELS, 2)
SLOTS = (CONV, KERAS, DEPTHWISE)
RANDOM = np.random.default_rng(0)
TENSORS = [RANDOM.standard_normal(slot.shape) for slot in SLOTS]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_sums_by_channel_and_by_group_are_those_of_each_tensor(order):
    bank = Bank.of([SLOTS[i] for i in order])
    flat = np.concatenate([bank.layout.flat(NUMPY, place, TENSORS[i]) for place, i in enumerate(order)])
    by_channel = bank.total(NUMPY, flat, "element", "channel")
    by_group = bank.total(NUMPY, flat, "element", "group")
    means = bank.mean(NUMPY, flat, "element", "channel")
    for place, i in enumerate(order):
        rows = bank.layout.rows("channel", place)
        np.testing.assert_allclose(by_channel[rows], TENSORS[i].sum(SLOTS[i].other_axes), atol=1e-12)
        np.testing.assert_allclose(means[rows], TENSORS[i].mean(SLOTS[i].other_axes), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(by_group[place], TENSORS[i].sum(), atol=1e-12)


def test_rows_of_kernels_broadcast_as_channels_and_input_channels_do():
    bank = Bank.of(SLOTS)
    channels, inputs = (RANDOM.standard_normal(bank.layout.total(e)) for e in ("channel", "input_channel"))
    kernels = bank.spread(NUMPY, channels, "channel", "kernel") * bank.spread(NUMPY, inputs, "input_channel", "kernel")
    for place, slot in enumerate(SLOTS):
        layout = bank.layout
        shaped = {
            extent: values[layout.rows(extent, place)].reshape(layout.view_shape(extent, place))
            for extent, values in (("channel", channels), ("input_channel", inputs), ("kernel", kernels))
        }
        wanted = np.broadcast_to(shaped["channel"] * shaped["input_channel"], slot.shape)
        np.testing.assert_array_equal(np.broadcast_to(shaped["kernel"], slot.shape), wanted)


def test_elements_of_a_channel_are_spread_beside_one_another():
    bank = Bank.of(SLOTS)
    channels = RANDOM.standard_normal(bank.layout.total("channel"))
    spread = bank.spread(NUMPY, channels, "channel", "element")
    for place, slot in enumerate(SLOTS):
        shape = bank.layout.view_shape("channel", place)
        wanted = np.broadcast_to(channels[bank.layout.rows("channel", place)].reshape(shape), slot.shape)
        np.testing.assert_array_equal(
            spread[bank.layout.rows("element", place)], bank.layout.flat(NUMPY, place, np.array(wanted))
        )


def test_a_part_is_what_was_joined():
    layout = Bank.of(SLOTS).layout
    parts = [RANDOM.standard_normal((*slot.step_shape, 7)) for slot in SLOTS]
    whole = layout.joined("channel", parts)
    for place, part in enumerate(parts):
        np.testing.assert_array_equal(layout.part("channel", whole, place), part)


def test_an_array_of_another_shape_is_refused_with_its_site():
    with pytest.raises(MPQError, match=r"site 'keras': an array of extent 'channel' has the shape \(4,\)"):
        Bank.of(SLOTS).layout.joined("channel", [np.zeros(4), np.zeros(4), np.zeros(6)])


def test_banks_hold_no_more_elements_than_they_may_unless_a_single_group_has_more():
    slots = [Slot(str(i), "weight", (size,), (Candidate(4, True, False),)) for i, size in enumerate((5, 4, 20, 1))]
    assert [[slot.name for slot in bank.slots] for bank in banks_of(slots, largest=10)] == [["0", "1"], ["2"], ["3"]]
