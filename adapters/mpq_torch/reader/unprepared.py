"""Models that torch's own quantization or torch.export has changed already, which are not the float model any more."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch import fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.modules.written import Simulated

_CONVERTED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
_FLOAT = ("FloatFunctional",)
"""Float modules among those, which hold the functions of models that are to be quantized."""
_OBSERVING = ("ObserverBase", "FakeQuantizeBase")
"""What observers, of torch.ao's and torchao's, are called above."""
_DECOMPOSED = ("quantized_decomposed", "torchao")
_GUARDS = "_guards_fn"


def check_unprepared(model: nn.Module) -> None:
    """Raise ModelError, naming the module, for a model that was prepared or converted for integers, or exported."""
    for path, module in model.named_modules():
        kind = type(module)
        if isinstance(module, Simulated):
            raise ModelError("a simulation stands for a model that was quantized already; pass the float model")
        if kind.__module__.startswith(_CONVERTED) and kind.__name__ not in _FLOAT:
            raise ModelError(f"{path} is a {kind.__qualname__} of a converted model; pass the float model")
        if any(base.__name__ in _OBSERVING for base in kind.__mro__):
            raise ModelError(
                f"{path} is a {kind.__qualname__} of a model that was prepared for quantization; pass the float model "
                "that it was made of"
            )
    for name, tensor in model.named_parameters():
        kind = type(tensor.data)  # of a kind of its own the tensor may be, as on a device, if it holds floats
        if kind.__module__.partition(".")[0] == "torchao":
            raise ModelError(f"{name} is a {kind.__name__}, and no plain tensor of floats; pass the float model")
    ops = list(_operators(model)) if isinstance(model, fx.GraphModule) else []
    if any(op.namespace in _DECOMPOSED for op in ops):
        raise ModelError("the model was converted to integers already; pass the float model")
    if ops:
        raise ModelError(
            "the model was exported by torch.export, which keeps none of its layers; pass the module that was exported"
        )


def _operators(graph: fx.GraphModule) -> Iterator[torch._ops.OpOverload]:
    """The operators of a graph that calls nothing else, as torch.export writes it; none of another graph."""
    calls = [node for node in graph.graph.nodes if node.op.startswith("call_") and node.target != _GUARDS]
    targets = [node.target for node in calls if node.target is not operator.getitem]
    if all(isinstance(target, torch._ops.OpOverload) for target in targets):
        yield from targets
