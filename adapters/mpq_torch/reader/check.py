"""Does the graph compute what the model computes? Tracing does not follow every Python program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.evaluation import FloatModel
from mpq_torch.calling.arguments import called, rebuilt
from mpq_torch.calling.batches import Batch
from mpq_torch.calling.own_copy import copied
from mpq_torch.reader.reading import Reading
from mpq_torch.reader.repeating import changes_at
from mpq_torch.reader.returned import differ, tensors_of

SAMPLES = 4


def check_reading(model: nn.Module, reading: Reading, batch: Batch) -> None:
    """Raise ModelError where the graph and the model differ by more than rounding, as a fraction of the largest output.

    torch.fx records ``y += z`` as a new tensor, does not see writing into a view, and bakes in what Python code asks
    of other things than tensors, so a model can be traced as another one. Some samples are compared, once.
    """
    few = batch if reading.one_batch_size else Batch(_some(t) for t in batch)
    own = copied(model).eval()
    with torch.no_grad():
        wanted, again = tensors_of(called(own, few)), tensors_of(called(own, few))
        if len(again) != len(wanted) or any(map(differ, again, wanted)):
            raise ModelError(
                f"called twice on the same inputs, the model returns two things: {changes_at(model, few)}. Quantized "
                "models do neither; take it out of forward(), or give what changes as an argument"
            )
        got = tensors_of(FloatModel(reading.graph, reading.runner).outputs(reading.given(few)))
    if len(wanted) != len(got):
        raise ModelError(f"read as a graph, the model returns {len(got)} tensors instead of {len(wanted)}. {_LOOK}")
    for index, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if a.shape != b.shape:
            what = f"has the shape {tuple(b.shape)} instead of {tuple(a.shape)}"
        elif differ(a, b):
            what = f"differs by up to {float((a - b).abs().max()):.3g}"
        else:
            continue
        raise ModelError(f"traced by torch.fx, output {index} of the model {what}{_first(own, reading, few)}: {_LOOK}")


_LOOK = (
    "look for in-place arithmetic (y += z) whose result is read under another name, writing into a slice, code that "
    "asks for the type of a tensor, and hooks that write"
)


def _some(argument: Any) -> Any:
    return rebuilt(argument, lambda leaf: leaf[:SAMPLES] if isinstance(leaf, Tensor) and leaf.dim() else leaf)


def _first(model: nn.Module, reading: Reading, few: Sequence[Any]) -> str:
    """In words, the first module of the model whose output is another one in the graph that was traced."""
    found: dict[str, Tensor] = {}
    paths = {module: path for path, module in model.named_modules() if path}

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.setdefault(paths[module], output)

    handles = [module.register_forward_hook(keep) for module in paths]
    with torch.no_grad():
        called(model, few)
        traced = _Modules(reading.traced)
        traced.run(*few)
    for handle in handles:
        handle.remove()
    differing = (path for path, value in found.items() if path in traced.found and differ(value, traced.found[path]))
    first = next(differing, None)
    return "" if first is None else f", first at or in front of module {first!r}"


class _Modules(fx.Interpreter):
    """found: what modules gave at their first call, by path."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_module" and isinstance(result, Tensor):
            self.found.setdefault(str(n.target), result)
        return result
