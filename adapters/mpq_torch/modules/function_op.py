"""A function of one element that torch has not, as an operator of torch's: one node however a model is traced.

Its values are those that the record's table is made of, NumPy's in float64; its gradient is the record's in torch.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from mpq_plugins import plugins
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_torch.runner.torch_runner import TorchRunner

NAMESPACE = "mpq_plugins"


@torch.library.custom_op(f"{NAMESPACE}::function_of_one", mutates_args=())
def function_of_one(x: Tensor, word: str, attrs: str = "{}") -> Tensor:
    """The function of this word, of each element. attrs: of its record, as JSON."""
    values = plugins.host().op(word).value(NUMPY_RUNNER, _node(word, attrs), x.detach().cpu().double().numpy())
    return torch.as_tensor(values).to(x)


def _node(word: str, attrs: str) -> Node:
    return Node(word, word, ("x",), attrs=_tuples(json.loads(attrs)))


def _tuples(value: Any) -> Any:
    """Lists, which JSON makes of tuples, as tuples again."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@function_of_one.register_fake
def _(x: Tensor, word: str, attrs: str = "{}") -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor, str, str], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.word, ctx.attrs = inputs[1:]


def _gradient(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (x,) = ctx.saved_tensors
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        node = _node(ctx.word, ctx.attrs)
        y = plugins.host().op(ctx.word).value(TorchRunner(device=x.device), node, x)
    (found,) = torch.autograd.grad(y, x, gradient)
    return found, None, None


function_of_one.register_autograd(_gradient, setup_context=_keep)
