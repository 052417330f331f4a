"""What a layer is called with beside its tensors, which changes what it computes: masks, states, switches."""

from __future__ import annotations

from typing import Any

from mpq_plugins.errors import UnsupportedOp
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.expanding import given_more
from mpq_tfmot.reader.in_training import IN_TRAINING, changes_in_training
from mpq_tfmot.reader.record import Record, is_masked
from mpq_tfmot.reader.recurrent import REMEMBERS

MASKED = ("Attention", "AdditiveAttention")
"""Layers that heed the masks of their inputs, and say so by no argument of their own."""
HEEDED = ("MultiHeadAttention", *MASKED)
"""Layers whose rules look at all that they are called with."""


def check_masks(layer: Any, record: Record, name: str) -> None:
    """Raise UnsupportedOp for a layer that heeds the mask that Masking, or an Embedding with mask_zero, has hung on its
    input: tensors on grids carry none, not into a float part either. MultiHeadAttention is given it (``hung_masks``).
    """
    heeds = getattr(layer, "_expects_mask_arg", False) or type(layer).__name__ in MASKED
    if heeds and any(map(is_masked, record.keras_inputs)):
        raise UnsupportedOp(
            f"{name} heeds the mask of its input (of Masking, or mask_zero), which has no form here; multiply with the "
            "mask where it matters, and build the model without Masking and mask_zero",
            [name],
        )


def objection(call: Call) -> str:
    """Why a layer is not what its class says; "" where it is."""
    if call.node.training and changes_in_training(call.layer):
        return IN_TRAINING
    if getattr(call.layer, "data_format", "channels_last") != "channels_last":
        return "channels_first does not run on LiteRT; build it channels_last"
    if call.kind in HEEDED:
        return ""
    if getattr(call.layer, "stateful", False):
        return REMEMBERS
    more = list(given_more(call.node))
    more += [f"argument {index + 1}" for index, value in enumerate(call.node.call_args[1:], 1) if value is not None]
    return f"what {call.kind} computes with {', '.join(more)} has no integer form" if more else ""
