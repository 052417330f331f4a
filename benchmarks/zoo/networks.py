"""The networks: names of torchvision, timm and tf_keras.applications, built with drawn weights.

torchvision and timm are no dependencies of the project: ``pip install --no-deps torchvision==0.28.0 timm`` and what
they import. Networks of a package that is not installed are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from benchmarks.torchvision_models import torchvision_models

SIZE = 64
"""Pixels of an image along each side, unless the network needs more."""
SIZES = {
    "vit_b_16": 224,
    "maxvit_t": 224,
    "levit_128": 224,
    "efficientformer_l1": 224,
    "InceptionV3": 75,
    "Xception": 71,
    "InceptionResNetV2": 75,
    "inception_v3": 96,
}
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "fcn_resnet50")
TORCHVISION = (
    *("alexnet", "vgg11_bn", "resnet18", "resnet50", "densenet121", "googlenet", "squeezenet1_1"),
    *("shufflenet_v2_x1_0", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t"),
    *(*SEGMENTATION, "ssdlite320_mobilenet_v3_large"),
)
TIMM = (
    *("efficientnet_lite0", "mobilenetv3_small_100", "mobilenetv4_conv_small", "tinynet_e", "repvgg_a0"),
    *("mobilevit_s", "levit_128", "efficientformer_l1", "poolformer_s12"),
)
KERAS = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0"),
    *("ResNet50", "ResNet50V2", "DenseNet121", "Xception", "InceptionV3", "RegNetX002", "ConvNeXtTiny"),
)
_OPTIONS = {name: {"init_weights": False, "aux_logits": False} for name in ("googlenet", "inception_v3")}


def listed() -> Iterator[tuple[str, str]]:
    """The package and the name of each network that can be had here."""
    for package, names in (("torchvision", TORCHVISION), ("timm", TIMM), ("tf_keras", KERAS)):
        if find_spec(package):
            yield from ((package, name) for name in names)


def others(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The package and the name of networks of the same packages that are in no list. Raises ValueError for no name."""
    known = {name for _, name in listed()}
    for name in names:
        if name not in known:
            yield _package_of(name), name


def _package_of(name: str) -> str:
    if find_spec("torchvision"):
        models = torchvision_models()
        if hasattr(models, name) or hasattr(models.segmentation, name):
            return "torchvision"
    if find_spec("timm"):
        import timm  # type: ignore[import-not-found]

        if timm.is_model(name):
            return "timm"
    from mpq_tfmot.keras import keras

    if hasattr(keras.applications, name):
        return "tf_keras"
    raise ValueError(f"no network of torchvision, timm or tf_keras.applications has the name {name!r}")


def built(package: str, name: str, count: int) -> tuple[Any, Any]:
    """The network, and so many images; norms have seen them."""
    return _keras(name, count) if package == "tf_keras" else _torch(package, name, count)


def _detector(whole: Any) -> Any:
    """Backbone and head of a detector, without what makes boxes of their outputs."""
    from torch import nn

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = whole.backbone, whole.head

        def forward(self, x: Any) -> Any:
            return self.head(list(self.backbone(x).values()))

    return Detector()


def _torch(package: str, name: str, count: int) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    models, size = torchvision_models(), SIZES.get(name, SIZE)
    if package == "timm":
        import timm

        model = timm.create_model(name, pretrained=False)
        if model.default_cfg.get("fixed_input_size"):
            size = model.default_cfg["input_size"][-1]
    elif name.startswith("ssdlite320"):
        model = _detector(models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))
    elif not hasattr(models, name):
        model = getattr(models.segmentation, name)(weights=None, weights_backbone=None)
    else:
        model = getattr(models, name)(weights=None, **_OPTIONS.get(name, {}))
    try:
        return _seen(model, torch.randn(count, 3, size, size))
    except (RuntimeError, ValueError, AssertionError):  # smaller than the network's own windows
        own = getattr(model, "default_cfg", {}).get("input_size", (3, size, size))
        if own[-1] == size:
            raise
        return _seen(model, torch.randn(count, *own))


def _seen(model: Any, images: Any) -> tuple[Any, Any]:
    """The network in eval mode, whose norms have seen the images."""
    import torch

    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(images)
    return model.eval(), images


def _keras(name: str, count: int) -> tuple[Any, Any]:
    from benchmarks.applications import application

    return application(name, SIZES.get(name, SIZE), count)
