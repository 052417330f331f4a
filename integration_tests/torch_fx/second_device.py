"""A second device for torch that every machine has: tensors that live on "faraway" and compute on the processor.

What mixes its tensors with the processor's, or asks for their values without bringing them over, fails as it does on a
GPU. For a process of its own: torch takes one such device, for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "faraway"
_MOVES = ("aten::_to_copy", "aten::copy_")
_INDEXES = ("aten::index.Tensor", "aten::index", "aten::index_put_", "aten::_index_put_impl_")
"""What takes indices of the processor beside values of a device."""


def add_device() -> torch.library.Library:
    """Let torch know the device, for as long as what is returned is kept."""
    _setup_privateuseone_for_python_backend(DEVICE)  # type: ignore[no-untyped-call]
    kernels = torch.library.Library("aten", "IMPL")
    kernels.impl("empty.memory_format", _empty, "PrivateUse1")
    kernels.impl("empty_strided", _empty_strided, "PrivateUse1")
    kernels.impl("_copy_from", _copy_from, "PrivateUse1")
    return kernels


class Far(torch.Tensor):
    """A tensor of the device; held: its values."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Far:
        shape = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, device=torch.device(DEVICE, 0), **shape)
        made.held = held
        return made

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} tensor to numpy")

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"Far({self.held})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, torch.Tensor)]
        name = func._schema.name  # type: ignore[attr-defined]
        if name not in (*_MOVES, *_INDEXES) and any(t.dim() for t in tensors if not isinstance(t, Far)):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {DEVICE} and cpu")
        device = given.get("device")
        stays = device is None or torch.device(device).type == DEVICE
        if device is not None:
            given["device"] = torch.device("cpu")
        found = func(*tree_map(_near, args), **tree_map(_near, given))
        if not stays or name == "aten::_local_scalar_dense":
            return found
        known = {id(t.held): t for t in tensors if isinstance(t, Far)}  # what was written in place is itself
        return tree_map(lambda x: known.get(id(x), Far(x)) if isinstance(x, torch.Tensor) else x, found)


def _near(value: Any) -> Any:
    return value.held if isinstance(value, Far) else value


def _empty(size: Sequence[int], dtype: Any = None, memory_format: Any = None, **rest: Any) -> Far:
    return Far(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size: Sequence[int], stride: Sequence[int], dtype: Any = None, **rest: Any) -> Far:
    return Far(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _near(target).copy_(_near(source))
    return target
