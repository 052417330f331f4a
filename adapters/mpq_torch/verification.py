"""Does a converted model give exactly the numbers that were simulated, and if not, where not?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.verification import Verification
from mpq_torch.batches import as_batches, model_inputs
from mpq_torch.engine import engine_of, quantized_engine
from mpq_torch.simulation import (
    SIMULATED_SUFFIX,
    SimulatedAdd,
    SimulatedHardswish,
    SimulatedInput,
    SimulatedLayer,
    simulated_sites,
)


def verify(
    converted: nn.Module,
    simulated: nn.Module,
    inputs: Any,
    locate: Callable[[nn.Module, fx.GraphModule, tuple[Any, ...]], str | None] | None = None,
) -> Verification:
    """Compare a converted int8 model with its simulation, element by element.

    inputs: a tensor, or an iterable of batches. The converted model runs on the engine that it was
    converted for. locate: finds the first site that differs on a batch; by default in what convert_fx
    returns. Raises ModelError when one of the two is not what convert_fx and simulate return.
    """
    if not isinstance(simulated, fx.GraphModule) or not simulated_sites(simulated):
        raise ModelError("verify needs the model that fx.simulate returned as its second argument")
    batches = as_batches(inputs, model_inputs(simulated))
    largest, mismatched, elements, first = 0.0, 0, 0, None
    with quantized_engine(engine_of(converted)), torch.no_grad():
        for batch in batches:
            got, wanted = _tensors(converted(*batch)), _tensors(simulated(*batch))
            if len(got) != len(wanted):
                raise ModelError(f"the converted model returns {len(got)} tensors, its simulation {len(wanted)}")
            for g, w in zip(got, wanted, strict=True):
                if g.shape != w.shape:
                    raise ModelError(f"the converted model returns {tuple(g.shape)}, its simulation {tuple(w.shape)}")
            different = [(g.dequantize() if g.is_quantized else g) - w for g, w in zip(got, wanted, strict=True)]
            elements += sum(d.numel() for d in different)
            count = sum(int((d != 0).sum()) for d in different)
            if count:
                mismatched += count
                largest = max(largest, *(float(d.abs().max()) for d in different))
                first = first or (locate or _first_difference)(converted, simulated, batch)
    return Verification(mismatched == 0, largest, mismatched, elements, first)


def _tensors(output: Any) -> list[Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _first_difference(converted: nn.Module, simulated: fx.GraphModule, batch: tuple[Any, ...]) -> str | None:
    """The first site, in execution order, whose values differ between the two graphs."""
    if not isinstance(converted, fx.GraphModule):
        return None
    got = _recorded(converted, batch, _keys(converted))
    wanted = _recorded(simulated, batch, _keys(simulated))
    sites = dict(simulated_sites(simulated))
    for key, node in _keys(simulated).items():
        if key not in got:
            continue
        grid = sites[node]
        actual = got[key].clamp(grid.low * grid.steps[0], grid.high * grid.steps[0])
        expected = wanted[key]
        if actual.shape == expected.shape and not torch.equal(actual, expected):
            return str(node.meta["mpq_name"])
    return None


def _keys(graph: fx.GraphModule) -> dict[str, fx.Node]:
    """The nodes that put a tensor on a grid of its own, by a key that both graphs have.

    Layers are known by the path of their module, inputs and adds by their order; a layer that was
    split into several for conversion is left out.
    """
    keys: dict[str, fx.Node] = {}
    counts: dict[str, int] = {}
    for node in graph.graph.nodes:
        kind = _kind(graph, node)
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + 1
            keys[f"{kind} {counts[kind]}"] = node
    return keys


def _kind(graph: fx.GraphModule, node: fx.Node) -> str | None:
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return {"quantize_per_tensor": "input", "add": "add", "add_relu": "add"}.get(name)
    if node.op != "call_module":
        return None
    path = str(node.target)
    module = graph.get_submodule(path)
    if isinstance(module, SimulatedInput):
        return "input"
    if isinstance(module, SimulatedAdd):
        return "add"
    if isinstance(module, (SimulatedLayer, SimulatedHardswish)) or "torch.ao.nn" in type(module).__module__:
        return path.removesuffix(SIMULATED_SUFFIX)
    return None


def _recorded(graph: fx.GraphModule, batch: tuple[Any, ...], nodes: dict[str, fx.Node]) -> dict[str, Tensor]:
    keys = {node: key for key, node in nodes.items()}
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in keys:
                values[keys[n]] = result.dequantize() if result.is_quantized else result
            return result

    Recorder(graph).run(*batch)
    return values
