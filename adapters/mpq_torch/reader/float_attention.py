"""Attention that stays float, as a function of the core and its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from mpq_torch.calling.node_arguments import arguments_of
from mpq_torch.reader.call import Call, array_of, whole

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


def of_call(call: Call) -> tuple[str, dict[str, Any]] | None:
    """scaled_dot_product_attention of tensors [batch, ..., steps, features]; None where it is called otherwise."""
    given: dict[str, Any] = {**dict(zip(_NAMES, call.node.args, strict=False)), **call.node.kwargs}
    shape = call.observed.shapes.get(given["query"], ())
    mask = _mask(call, given.get("attn_mask"))
    if len(shape) < 3 or given.get("dropout_p") or given.get("enable_gqa") or mask is NotImplemented:
        return None
    if given.get("is_causal"):
        steps = [whole(call.observed.shapes[given[part]][-2]) for part in ("query", "key")]
        mask = np.triu(np.full(steps, -np.inf), 1)
    scale = given.get("scale") or 1 / math.sqrt(whole(shape[-1]))
    return "attention", {**_tensors(given["query"], given["key"], given["value"]), "scale": scale, "mask": mask}


def of_products(call: Call) -> tuple[str, dict[str, Any]] | None:
    """What is between the linear layers of nn.MultiheadAttention (attention.Products), of a batch; None for others."""
    q, k, v, padding, mask = arguments_of(call.node)
    added = _mask(call, mask)
    shape, heads = call.observed.shapes.get(q, ()), int(call.setting("heads"))
    if len(shape) != 3 or padding is not None or added is NotImplemented:
        return None
    if added is not None and added.ndim == 3:
        added = added.reshape(-1, heads, *added.shape[1:])
    first = call.setting("batch_first")
    scale = 1 / math.sqrt(whole(shape[-1]) // heads)
    return "heads_attention", {**_tensors(q, k, v), "heads": heads, "batch_first": first, "scale": scale, "mask": added}


def of_shares(call: Call) -> tuple[str, dict[str, Any]] | None:
    """What nn.MultiheadAttention sums the values with (attention.Shares), of a batch; None for others."""
    q, k, padding, mask = arguments_of(call.node)
    module: Any = call.module
    added, shape = _mask(call, mask), call.observed.shapes.get(q, ())
    if len(shape) != 3 or padding is not None or added is NotImplemented:
        return None
    if added is not None and added.ndim == 3:
        added = added.reshape(-1, module.heads, *added.shape[1:])
    scale = 1 / math.sqrt(whole(shape[-1]) // module.heads)
    options = {"heads": module.heads, "batch_first": module.batch_first, "scale": scale, "averaged": module.averaged}
    return "heads_shares", {"input": q, "key": k, "mask": added, **options}


def _tensors(q: Any, k: Any, v: Any) -> dict[str, Any]:
    return {"input": q, "key": k, "value": v}


def _mask(call: Call, mask: Any) -> Any:
    """What is added to the products: an array, or None for nothing; NotImplemented where the model computes it."""
    if isinstance(mask, fx.Node):
        mask = call.held(mask)
        if mask is None:
            return NotImplemented
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        hides = mask if call.module is not None else ~mask  # True shows an element to one, and hides it from the other
        return np.where(hides.cpu().numpy(), -np.inf, 0.0)
    return array_of(mask) if isinstance(mask, Tensor) else mask
