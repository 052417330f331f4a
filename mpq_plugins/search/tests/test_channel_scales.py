"""Factors of channels: which must be alike, and the one of least loss, beside brute force."""

import itertools

import numpy as np

from mpq_plugins.graph.node import ARGUMENT, INPUT, Batch, Graph, Node
from mpq_plugins.search.channel_classes import KEPT, channel_classes
from mpq_plugins.search.channel_scales import FINENESS, Losses, chosen_scales, errors_by_threshold
from mpq_plugins.search.filled import rescaled


def conv(name, source, outputs, inputs, low=None, high=None, groups=1):
    attrs = {"groups": groups, "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    weight = np.random.default_rng(len(name)).normal(size=(outputs, inputs // groups, 1, 1))
    shape = (Batch(), outputs, 2, 2)
    return Node(name, "conv2d", (source,), shape, weight, np.ones(outputs), low, high, attrs=attrs)


def graph(*nodes, output):
    image = (Batch(), 3, 2, 2)
    first = (Node("x", ARGUMENT, (), image, attrs={"index": 0}), Node("x__input", INPUT, ("x",), image))
    return Graph((*first, *nodes), (output,), "NCHW")


def residual():
    """a -> ReLU -> b -> ReLU -> c, added to a; the mean of it, flattened, goes to a linear."""
    added, flat = (Batch(), 4, 2, 2), (Batch(), 16)
    return graph(
        conv("a", "x__input", 4, 3, low=0.0),
        conv("bb", "a", 6, 4, low=0.0),
        conv("ccc", "bb", 4, 6),
        Node("sum", "add", ("a", "ccc"), added, low=0.0),
        Node("flat", "reshape", ("sum",), flat),
        Node("fc", "linear", ("flat",), (Batch(), 2), np.ones((2, 16)), np.zeros(2)),
        output="fc",
    )


def test_what_meets_in_a_sum_has_one_factor_and_what_comes_out_keeps_its_own():
    found = channel_classes(residual())
    assert set(found) == {"a", "bb", "ccc", "sum", "flat"}
    np.testing.assert_array_equal(found["a"].classes, found["ccc"].classes)
    assert len({*found["a"].classes, *found["bb"].classes, KEPT}) == 4 + 6 + 1
    np.testing.assert_array_equal(found["flat"].classes, np.repeat(found["sum"].classes, 4))


def test_a_bound_below_zero_and_ops_that_know_no_factor_keep_theirs():
    clipped = graph(conv("a", "x__input", 4, 3, low=-1.0, high=1.0), conv("b", "a", 2, 4), output="b")
    assert not channel_classes(clipped)
    image = (Batch(), 4, 2, 2)
    curved = graph(conv("a", "x__input", 4, 3), Node("s", "sigmoid", ("a",), image), conv("b", "s", 2, 4), output="b")
    assert not channel_classes(curved)


def test_channels_behind_a_padding_are_those_in_front_of_it_and_a_slice_takes_its_own():
    wide = (Batch(), 6, 2, 2)
    pads = ((0, 0), (1, 1), (0, 0), (0, 0))
    cut = {"starts": (0, 1, 0, 0), "stops": (None, 5, None, None), "steps": (1, 1, 1, 1)}
    moved = graph(
        conv("a", "x__input", 4, 3, low=0.0),
        Node("padded", "pad", ("a",), wide, attrs={"pads": pads}),
        Node("cut", "slice", ("padded",), (Batch(), 4, 2, 2), attrs=cut),
        conv("b", "cut", 2, 4),
        output="b",
    )
    found = channel_classes(moved)
    np.testing.assert_array_equal(found["padded"].classes[1:5], found["a"].classes)
    np.testing.assert_array_equal(found["cut"].classes, found["a"].classes)


def test_layers_put_factors_on_and_take_them_back_in_each_group():
    model = graph(
        conv("a", "x__input", 4, 3, low=0.0), conv("d", "a", 8, 4, low=0.0, groups=4), conv("b", "d", 2, 8), output="b"
    )
    channels = channel_classes(model)
    scales = np.exp2(np.arange(1 + max(int(c.classes.max()) for c in channels.values())) % 3 - 1.0)
    scales[KEPT] = 1
    other = rescaled(model, channels, scales)

    def outputs(of, x):
        hidden = np.maximum(of["a"].weight[:, :, 0, 0] @ x + of["a"].bias, 0)
        depthwise = of["d"].weight[:, 0, 0, 0] * np.repeat(hidden, 2) + of["d"].bias
        return of["b"].weight[:, :, 0, 0] @ np.maximum(depthwise, 0) + of["b"].bias

    x = np.random.default_rng(0).normal(size=3)
    assert not np.array_equal(other["d"].weight, model["d"].weight)
    np.testing.assert_allclose(outputs(other, x), outputs(model, x), rtol=1e-12)


def test_errors_are_those_of_the_grid_at_each_threshold():
    values = np.random.default_rng(1).exponential(size=(3, 200)).astype(np.float32) * np.float32([[1], [5], [0.1]])
    first, table = errors_by_threshold(values, 3, False)
    for channel, place in itertools.product(range(3), (0, 9, table.shape[1] - 1)):
        step = 2.0 ** ((first[channel] + place) / FINENESS) / 8
        codes = np.clip(np.rint(values[channel] / step), 0, 7)
        assert np.isclose(table[channel, place], np.mean((codes * step - values[channel]) ** 2), rtol=1e-4)


def two_tensors():
    """Three classes, of which the second goes through both tensors; the last channel is dead."""
    rng = np.random.default_rng(2)
    first = rng.exponential(size=(3, 300)) * [[1.0], [0.3], [0.0]]
    second = rng.normal(size=(2, 300)) * [[0.2], [4.0]]
    return [
        Losses("p", np.array([1, 2, 4]), *errors_by_threshold(first.astype(np.float32), 3, False)),
        Losses("q", np.array([2, 3]), *errors_by_threshold(second.astype(np.float32), 3, True)),
    ]


def test_factors_lose_as_little_as_the_best_of_all():
    tensors, shifts = two_tensors(), np.arange(-4 * FINENESS, 4 * FINENESS + 1)

    def table(thresholds):
        """Loss of each class for each factor."""
        total = np.zeros((5, len(shifts)))
        for tensor, threshold in zip(tensors, thresholds, strict=True):
            for channel, losses in zip(tensor.classes, tensor.at(threshold, shifts), strict=True):
                total[channel] += losses
        return total

    tables = [table(thresholds) for thresholds in itertools.product(range(-3, 5), repeat=2)]
    scales = chosen_scales(tensors, 5, np.full(5, np.inf))
    places = np.searchsorted(shifts, np.rint(np.log2(scales) * FINENESS))
    found = min(t[np.arange(5), places].sum() for t in tables)
    assert found <= min(t.min(axis=1).sum() for t in tables) * (1 + 1e-9)
    assert scales[KEPT] == scales[4] == 1


def test_no_class_gets_more_than_it_may():
    free = chosen_scales(two_tensors(), 5, np.full(5, np.inf))
    assert free.max() > 1
    assert chosen_scales(two_tensors(), 5, np.ones(5)).max() == 1
