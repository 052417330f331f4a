"""A user's model as the reader takes it: out of its wrappers, copied, and with the weights that it computes with."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.own_functions import take_functions_along

WEIGHT_HOOKS = (WeightNorm, SpectralNorm, prune.BasePruningMethod)
"""Forward pre-hooks of torch's own that compute a weight."""
_INSIDE = {"OptimizedModule": "_orig_mod"}
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module, name: str = "") -> nn.Module:
    """What a wrapper computes with: the module in DataParallel, torch.compile, AveragedModel; others are themselves.

    name: of the module in the model. Raises ModelError for what is no module, and for a scripted one.
    """
    if not isinstance(model, nn.Module):
        more = "; pass the module that was exported" if isinstance(model, torch.export.ExportedProgram) else ""
        raise ModelError(f"a torch.nn.Module is needed, got {type(model).__name__}{more}")
    if isinstance(model, torch.jit.ScriptModule):
        what = f"module {name!r}" if name else "the model"
        raise ModelError(
            f"{what} is scripted or traced by torch.jit, which keeps no Python code to read; pass the module that it "
            "was made of"
        )
    inside = _INSIDE.get(type(model).__name__, "module" if isinstance(model, _WRAPPERS) else "")
    return unwrapped(getattr(model, inside), name) if inside else model


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model whose wrappers, inside too, are taken off; its weights are still computed where they were.

    Tensors that a forward pass has left in the model are copied as values. Raises as ``unwrapped`` does, and ModelError
    for a weight that has no values.
    """
    model = unwrapped(model)
    for path, module in model.named_modules():
        unwrapped(module, path)
    _check_values(model)
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in pytree.tree_leaves([module.__dict__, module._buffers]):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    own = copy.deepcopy(model, memo)
    take_functions_along(own, memo)
    for module in list(own.modules()):
        for name, child in module.named_children():
            if unwrapped(child) is not child:
                setattr(module, name, unwrapped(child))
    return own


def _check_values(model: nn.Module) -> None:
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ModelError(f"{name} has no shape yet, since its layer is lazy; call the model once on a batch before")
        if tensor.is_meta:
            raise ModelError(
                f"{name} is on the meta device and has no values; load them first "
                "(model.to_empty(device='cpu'), then model.load_state_dict)"
            )


def hold_weights(model: nn.Module) -> None:
    """Let every module hold the weights that it computes with, in place, by the model's mode.

    Ends parametrizations (weight_norm, spectral_norm and the user's own), their older forms, and pruning masks.
    """
    with torch.no_grad():
        for module in model.modules():
            if parametrize.is_parametrized(module):
                _end_parametrizations(module)
            for key, hook in list(module._forward_pre_hooks.items()):
                if isinstance(hook, WEIGHT_HOOKS):
                    hook.remove(module)
                    del module._forward_pre_hooks[key]


def _end_parametrizations(module: Any) -> None:
    """Torch's remove_parametrizations would take the property from the class, which the user's own module has too."""
    values = {
        name: (getattr(module, name).detach().clone(), bool(list(parametrization.parameters(recurse=False))))
        for name, parametrization in module.parametrizations.items()
    }
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, (value, trained) in values.items():
        if trained:
            module.register_parameter(name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)


def computes_weights(module: nn.Module | None) -> bool:
    """Whether the module computes its weight or bias from other parameters."""
    if module is None:
        return False
    hooked = any(isinstance(hook, WEIGHT_HOOKS) for hook in module._forward_pre_hooks.values())
    return hooked or parametrize.is_parametrized(module)


def compute_weights(module: nn.Module) -> None:
    """Let the older forms of computed weights set the module's weight anew, with gradients, as its call would."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WEIGHT_HOOKS):
            hook(module, ())
