"""Attention that stays float, as a function of the core and its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from mpq_torch.calling.node_arguments import arguments_of
from mpq_torch.reader.call import Call, array_of, whole

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


def of_call(call: Call) -> tuple[str, dict[str, Any]] | None:
    """scaled_dot_product_attention of tensors [batch, ..., steps, features]; None where it is called otherwise."""
    given: dict[str, Any] = {**dict(zip(_NAMES, call.node.args, strict=False)), **call.node.kwargs}
    shape = call.observed.shapes.get(given["query"], ())
    if len(shape) < 3 or given.get("dropout_p"):
        return None
    mask = _mask(call, given.get("attn_mask"), shows=True)
    if given.get("is_causal"):
        steps = [whole(call.observed.shapes[given[part]][-2]) for part in ("query", "key")]
        mask = {"mask": np.triu(np.full(steps, -np.inf), 1)}
    scale = given.get("scale") or 1 / math.sqrt(whole(shape[-1]))
    return "attention", {
        **_tensors(given["query"], given["key"], given["value"]),
        "scale": scale,
        **mask,
        **_shared(given),
    }


def of_products(call: Call) -> tuple[str, dict[str, Any]] | None:
    """What is between the linear layers of nn.MultiheadAttention (attention.Products), of a batch; None for others."""
    q, k, v, mask = arguments_of(call.node)
    found = _of_heads(call, q, mask)
    return None if found is None else ("heads_attention", {**_tensors(q, k, v), **found})


def of_shares(call: Call) -> tuple[str, dict[str, Any]] | None:
    """What nn.MultiheadAttention sums the values with (attention.Shares), of a batch; None for others."""
    q, k, mask = arguments_of(call.node)
    found = _of_heads(call, q, mask)
    module: Any = call.module
    return None if found is None else ("heads_shares", {"input": q, "key": k, **found, "averaged": module.averaged})


def _of_heads(call: Call, q: Any, mask: Any) -> dict[str, Any] | None:
    """What both parts are given besides their tensors; None where there is no batch."""
    shape, heads = call.observed.shapes.get(q, ()), int(call.setting("heads"))
    if len(shape) != 3:
        return None
    scale = 1 / math.sqrt(whole(shape[-1]) // heads)
    options = {"heads": heads, "batch_first": call.setting("batch_first"), "scale": scale}
    return {**options, **_mask(call, mask, shows=False)}


def _shared(given: dict[str, Any]) -> dict[str, bool]:
    """Whether several heads of queries, one behind another, meet the same head of keys and values."""
    return {"shared": True} if given.get("enable_gqa") else {}


def _tensors(q: Any, k: Any, v: Any) -> dict[str, Any]:
    return {"input": q, "key": k, "value": v}


def _mask(call: Call, mask: Any, shows: bool) -> dict[str, Any]:
    """What is said of a mask: an array that is added to the products, or the node that computes it; nothing of none.

    shows: whether True shows an element, or hides it.
    """
    held = call.held(mask) if isinstance(mask, fx.Node) else mask
    if mask is None:
        return {}
    if held is None:
        return {"mask": mask, "shows": shows} if mask in call.observed.truths else {"mask": mask}
    if held.dtype == torch.bool:
        return {"mask": np.where((~held if shows else held).cpu().numpy(), -np.inf, 0.0)}
    return {"mask": array_of(held)}
