"""torch.ao, which later releases of torch may not have: its base classes, and its FX mode with a way out."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from mpq_plugins.errors import PluginError


class _Bare(nn.Module):
    """What the observers and fake-quantizers here need of a base class where neither library is installed."""

    def __init__(self, dtype: Any = None, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic


def _bases() -> tuple[type[nn.Module], type[nn.Module]]:
    for home in ("torch.ao.quantization", "torchao.quantization.pt2e"):
        try:
            module = importlib.import_module(home)
            return module.ObserverBase, module.FakeQuantizeBase
        except (ImportError, AttributeError):
            continue
    return _Bare, _Bare


if TYPE_CHECKING:
    from torch.ao.quantization import FakeQuantizeBase as FakeQuantizeBase
    from torch.ao.quantization import ObserverBase as ObserverBase
else:
    ObserverBase, FakeQuantizeBase = _bases()
    """Those of torch.ao; where it is gone, those of torchao."""


def fx_mode(name: str) -> ModuleType:
    """A module of torch.ao's FX mode. Raises PluginError, saying what to use instead, where torch has none."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PluginError(
            f"this torch has no FX graph mode quantization ({error}); use mpq_torch.pt2e, which takes the same models "
            "and recipes: pt2e.quantize(model, recipe, example_inputs) in the place of fx.quantize"
        ) from error
