"""torchvision's networks for CIFAR-10, which its classes build and checkpoints fill.

torchvision is no dependency of the project: ``pip install --no-deps torchvision==0.28.0 pillow``. Its operators do not
load beside torch's CPU build, and the networks need none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINTS = {
    "mobilenet_v3_small": "cifar10_mobilenet_v3_small.pt",
    "efficientnet_b0": "cifar10_efficientnet_b0.pt",
    "vit": "cifar10_vit.pt",
}


def torchvision_models() -> Any:
    """torchvision.models, imported without torchvision's own operators."""
    registered = torch.library.register_fake

    def register(op: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda function: function
        return registered(op, *arguments, **options)

    torch.library.register_fake = register
    try:
        import torchvision.models  # type: ignore[import-not-found]
    finally:
        torch.library.register_fake = registered
    return torchvision.models


def build(name: str) -> nn.Module:
    """The network for images of 32 x 32 and ten classes: the first strides are one."""
    models = torchvision_models()
    if name == "vit":
        return models.VisionTransformer(
            image_size=32, patch_size=4, num_layers=6, num_heads=4, hidden_dim=192, mlp_dim=384, num_classes=10
        )
    model = getattr(models, name)(num_classes=10)
    first = [model.features[0][0], *model.features[2 if name == "efficientnet_b0" else 1].modules()]
    for layer in first:
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
    return model


def load(name: str, data: Path) -> nn.Module:
    """The network of a checkpoint in ``data``, in eval mode."""
    model = build(name)
    model.load_state_dict(torch.load(data / CHECKPOINTS[name], weights_only=True, map_location="cpu"))
    return model.eval()
