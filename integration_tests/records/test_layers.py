"""Layers, pools and moves with every argument off its default, on every runtime that takes them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.records.runtimes import TARGETS, Called, check_integers, check_runtime
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins.graph.ops import all_ops
from mpq_torch.reader.reading import read_model

IMAGES, SIGNALS = (4, 9, 8), (4, 13)
KINDS = {
    "conv2d": (IMAGES, lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2)),
    "depthwise_conv2d": (IMAGES, lambda: nn.Conv2d(4, 4, (2, 3), (1, 2), (1, 0), (2, 1), 4)),
    "conv1d": (SIGNALS, lambda: nn.Conv1d(4, 6, 3, 2, 2, 2, 2)),
    "depthwise_conv1d": (SIGNALS, lambda: nn.Conv1d(4, 4, 3, 2, 1, 2, 4)),
    "conv_transpose2d": (IMAGES, lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 0), 2)),
    "conv_transpose1d": (SIGNALS, lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2)),
    "linear": ((5, 4), lambda: nn.Linear(4, 7)),
    "max_pool": (IMAGES, lambda: nn.MaxPool2d((3, 2), (1, 2), (1, 0))),
    "avg_pool": (IMAGES, lambda: nn.AvgPool2d((3, 2), (2, 1), (1, 0))),
    "global_avg_pool": (IMAGES, lambda: Called(lambda x: x.mean((2, 3), keepdim=True))),
    "concat": (IMAGES, lambda: Called(lambda x: torch.cat([x, F.relu(x), x], 2))),
    "pad": (IMAGES, lambda: nn.ZeroPad2d((1, 2, 0, 3))),
    "slice": (IMAGES, lambda: Called(lambda x: x[:, 1:, ::2, -6:-1])),
    "reshape": (IMAGES, lambda: Called(lambda x: x.reshape(-1, 8, 36))),
    "transpose": (IMAGES, lambda: Called(lambda x: x.permute(0, 3, 1, 2))),
    "upsample": (IMAGES, lambda: nn.Upsample(scale_factor=(2, 3))),
    "clamp": (IMAGES, lambda: Called(lambda x: torch.clamp(torch.cat([x, x], 1), -0.7, 1.3))),
}
ELSEWHERE = {"input", "nearest", "affine", "normalize", "softmax", "conv3d", "conv_transpose3d"} | {
    w for w, op in all_ops().items() if op.table or op.arity == 2
}
"""Records of functions, of ops of two and of what goes along rows have tests of their own; so have nearest resizing,
volumes and constants."""


def test_every_record_has_a_case():
    assert set(all_ops()) == set(KINDS) | ELSEWHERE


def model_of(word):
    """The op behind a pointwise layer, which gives it a grid of its own to work on."""
    torch.manual_seed(0)
    shape, make = KINDS[word]
    first = {3: nn.Conv2d, 2: nn.Conv1d}[len(shape)](4, 4, 1) if word != "linear" else nn.Linear(4, 4)
    return nn.Sequential(first, make()).eval(), torch.randn(6, *shape)


@pytest.mark.parametrize("word", KINDS)
def test_a_case_is_read_as_its_record(word):
    model, x = model_of(word)
    assert word in [node.op for node in read_model(model, (x,)).graph.nodes]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("word", KINDS)
def test_every_argument_is_exact_on_every_runtime(word, target):
    model, x = model_of(word)
    for bits in (2, 5, 8):
        recipe = clipping_recipe(model, x, target, min(bits, 7), bits)
        check_integers(model, recipe, (x,), (2 * x,))
        if target != "generic-po2":
            check_runtime(model, recipe, (x,), (2 * x,))


def several_groups():
    return nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 12, 3, groups=4)).eval()


def kept_axes():
    """A mean of as many channels as the optimized kernel takes at once, and one more, over 24 positions."""
    return nn.Sequential(nn.Conv2d(8, 17, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(17, 4, 1)).eval()


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-optimized", "litert-po2-reference"])
@pytest.mark.parametrize("make", [several_groups, kept_axes])
def test_what_litert_leaves_to_other_kernels_is_exact(make, target):
    torch.manual_seed(0)
    model, x = make(), torch.randn(64, 8, 6, 4)
    for bits in (3, 8):
        recipe = clipping_recipe(model, x, target, 7, bits)
        check_integers(model, recipe, (x,))
        check_runtime(model, recipe, (x,))
