"""The torch networks of the oracle, with weights and inputs from NumPy's generator."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import nn

from integration_tests.oracle import values
from integration_tests.oracle.torch_networks.blocks import BLOCKS
from integration_tests.oracle.torch_networks.layers import LAYERS
from integration_tests.oracle.torch_networks.spellings import SPELLINGS

NETWORKS = {kind.__name__: kind for kind in [*BLOCKS, *LAYERS, *SPELLINGS]}
ROUNDED = [kind.__name__ for kind in [*BLOCKS, *LAYERS]]
"""The networks that are constrained with data: spellings are told apart before that."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def build(name):
    """The network of a name, in eval mode; its inputs, and calibration data, as tuples of tensors."""
    kind = NETWORKS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = kind().eval()
    fill(model, rng)
    shapes = kind.shape if isinstance(kind.shape[0], tuple) else (kind.shape,)
    positive = getattr(kind, "positive", False)
    inputs, calibration = (
        tuple(torch.from_numpy(make(rng, shape, positive)) for shape in shapes)
        for make in (values.inputs, values.calibration)
    )
    return model, inputs, calibration


def keep_float(name):
    """The ops of the network that stay float."""
    return getattr(NETWORKS[name], "keep_float", ())


def without(name):
    """The targets that the network is not recorded for; inductor's kernels, which take long, for few only."""
    inductor = () if getattr(NETWORKS[name], "inductor", False) else ("torch-pt2e-x86",)
    return (*getattr(NETWORKS[name], "without", ()), *inductor)


def fill(model, rng):
    """Give every parameter and every statistic of a model a value."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NORMS):
                names = ("weight", "bias", "running_mean", "running_var")
                for name, array in zip(names, values.norm(rng, module.num_features), strict=True):
                    if getattr(module, name) is not None:
                        getattr(module, name).copy_(torch.from_numpy(array))
                continue
            for name, parameter in module.named_parameters(recurse=False):
                shape = tuple(parameter.shape)
                if parameter.dim() < 2 or name == "position":
                    parameter.copy_(torch.from_numpy(values.bias(rng, shape)))
                    continue
                channels = shape[1] * module.groups if isinstance(module, TRANSPOSED) else shape[0]
                parameter.copy_(torch.from_numpy(values.weight(rng, shape, channels)))
