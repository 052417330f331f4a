"""torch.ao and torchao remember on which device a model lies, and with that every model that they convert."""

from __future__ import annotations

import sys
from contextlib import suppress

REMEMBERING = (
    ("torch.ao.quantization.fx.utils", "assert_and_get_unique_device"),
    ("torchao.utils", "_assert_and_get_unique_device"),
)


def forget_devices() -> None:
    """Let go of the models that were prepared and converted so far; where a release remembers none, nothing happens."""
    for module, function in REMEMBERING:
        with suppress(AttributeError):
            getattr(sys.modules.get(module), function).cache_clear()
