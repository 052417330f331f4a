import io
import sys

import numpy as np
import pytest
from rich.console import Console

from mpq_plugins.commands.digits import DemoRow, digits, table
from mpq_plugins.errors import PluginError


def test_the_digits_are_split_the_same_way_every_time():
    first, again = digits(), digits()
    assert (len(first.train_images), len(first.test_images)) == (1300, 497)
    assert first.train_images.shape[1:] == (8, 8)
    assert first.train_images.dtype == np.float32
    assert (first.train_images.min(), first.train_images.max()) == (0, 1)
    assert set(first.test_labels) == set(range(10))
    np.testing.assert_array_equal(first.train_images, again.train_images)
    np.testing.assert_array_equal(first.test_labels, again.test_labels)


def test_no_image_is_in_training_and_test_by_position():
    from sklearn.datasets import load_digits

    data, split = load_digits(), digits()
    images = np.concatenate([split.train_images, split.test_images]) * 16
    labels = np.concatenate([split.train_labels, split.test_labels])
    ours = sorted((label, *image.ravel()) for label, image in zip(labels, images, strict=True))
    theirs = sorted((label, *image.ravel()) for label, image in zip(data.target, data.images, strict=True))
    assert ours == theirs


def test_without_scikit_learn_the_demo_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PluginError, match=r"pip install 'mpq-plugins\[demo\]'"):
        digits()


def test_the_table_has_a_line_for_every_model():
    rows = [
        DemoRow(4.0, 97.125, 96.0, 96.0, "exact", 12345.0, 98760.0, 1.25),
        DemoRow(3.0, 97.125, 95.0, 94.5, "3 differ", 9259.0, 98760.0, 2.0),
    ]
    stream = io.StringIO()
    Console(file=stream, width=160).print(table(rows, "torch-x86"))
    title, *lines = [line.strip() for line in stream.getvalue().splitlines() if line.strip()]
    assert title.endswith("on torch-x86")
    assert lines[-2].split() == ["4.00", "97.12", "96.00", "96.00", "exact", "12,345", "of", "98,760", "1.2"]
    assert lines[-1].split() == ["3.00", "97.12", "95.00", "94.50", "3", "differ", "9,259", "of", "98,760", "2.0"]
