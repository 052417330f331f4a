"""What an argument of a batch must be: as the one that the model was read with, but for the number of samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import Node


def check_given(argument: Node, value: Any) -> None:
    """Raise ModelError, naming the argument, for a value of another kind, type or number of axes."""
    if "dtype" not in argument.attrs:
        return
    if not isinstance(value, Tensor):
        raise ModelError(f"argument {argument.name} has to be a tensor, and is {value!r:.80}")
    if str(value.dtype) != f"torch.{argument.attrs['dtype']}":
        raise ModelError(
            f"argument {argument.name} is {str(value.dtype).removeprefix('torch.')}, and the model was read with "
            f"{argument.attrs['dtype']}; let all batches be of that type"
        )
    if argument.shape and value.dim() != len(argument.shape):
        raise ModelError(
            f"argument {argument.name} has the shape {tuple(value.shape)}, and the model was read with "
            f"{len(argument.shape)} axes, the first of which is the samples'"
        )
