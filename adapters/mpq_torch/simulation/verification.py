"""Does a converted model give exactly the numbers that were simulated, and if not, where not?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph import compared
from mpq_plugins.graph.node import INPUT, RAW, Graph
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import clamp_codes
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.verification import Verification
from mpq_torch.calling.arguments import called
from mpq_torch.calling.batches import going_through
from mpq_torch.modules.written import SAME_GRID_SUFFIX, Simulated
from mpq_torch.reader.aten_names import of_two
from mpq_torch.reader.returned import tensors_of
from mpq_torch.simulation.simulated_model import SimulatedModel
from mpq_torch.torch_ao.engine import engine_of, quantized_engine

Locate = Callable[[nn.Module, SimulatedModel, Sequence[Any]], "str | None"]
"""Finds the first site whose values differ on a batch; None where there is none, or the model tells no sites."""


def compare(
    converted: nn.Module, simulated: SimulatedModel, batches: Sequence[Sequence[Any]], locate: Locate
) -> Verification:
    """Compare what a converted int8 model returns with its simulation, element by element.

    The converted model runs on the engine that it was converted for.
    """
    if isinstance(converted, Simulated):
        raise ModelError(
            "verify needs a converted model as its first argument, as quantize returns it, not a simulation"
        )
    graph = simulated.simulation.graph
    largest, mismatched, elements, first = 0.0, 0, 0, None
    with quantized_engine(engine_of(converted)), torch.no_grad():
        for batch in batches:
            with going_through(batch):
                wanted = called(simulated, batch)  # first: it says what is wrong with a batch
            different = _differences(called(converted, batch), wanted)
            elements += sum(d.numel() for d in different)
            counts = [int((d != 0).sum()) for d in different]
            if any(counts):
                mismatched += sum(counts)
                largest = max(largest, *(float(d.abs().max()) for d in different if d.numel()))
                where = locate(converted, simulated, batch)
                first = first or where or _first_float(graph, counts)
    return Verification(mismatched == 0, largest, mismatched, elements, first, compared=compared.with_floats(graph))


def _first_float(graph: Graph, counts: Sequence[int]) -> str | None:
    """The first float output that differs, where no site does."""
    differing = [name for name, count in zip(graph.outputs, counts, strict=False) if count]
    return next((name for name in differing if graph[name].op in RAW), None)


def _differences(got: Any, wanted: Any) -> list[Tensor]:
    ours, theirs = tensors_of(got), tensors_of(wanted)
    if len(ours) != len(theirs):
        raise ModelError(f"the converted model returns {len(ours)} tensors, its simulation {len(theirs)}")
    for g, w in zip(ours, theirs, strict=True):
        if g.shape != w.shape:
            raise ModelError(f"the converted model returns {tuple(g.shape)}, its simulation {tuple(w.shape)}")
    return [_difference(_float(g), w) for g, w in zip(ours, theirs, strict=True)]


def _difference(got: Tensor, wanted: Tensor) -> Tensor:
    """Zero where both are the same, infinities and NaN too; infinite where one of them alone is no number."""
    same = (got == wanted) | (got.isnan() & wanted.isnan())
    kind = torch.promote_types(got.dtype, torch.int64)  # truth values cannot be subtracted
    return (got.to(kind) - wanted.to(kind)).nan_to_num(float("inf")).masked_fill(same, 0)


def _float(tensor: Tensor) -> Tensor:
    return tensor.dequantize() if tensor.is_quantized else tensor


def first_difference(converted: nn.Module, simulated: SimulatedModel, batch: Sequence[Any]) -> str | None:
    """The first site, in execution order, whose values differ in what convert_fx returned."""
    if not isinstance(converted, fx.GraphModule):
        return None
    nodes = site_nodes(converted, simulated.simulation.graph)
    got = recorded(converted, batch, set(nodes.values()))
    found = {site: _float(got[node]) for site, node in nodes.items() if isinstance(got.get(node), Tensor)}
    return first_site(simulated.simulation, simulated.sites(*batch), found)


def first_site(simulation: Simulation, wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str | None:
    """The first site whose values differ, once they are clamped as the site's own op clamps them."""
    quantized = simulation.quantized
    for node in simulation.graph.nodes:
        if quantized.grid_of.get(node.name) != node.site or node.site not in got:
            continue
        grid = quantized.grid(node)
        low, high = (code * float(grid.steps[0]) for code in clamp_codes(node, grid))
        if not torch.equal(got[node.site].clamp(low, high), wanted[node.site]):
            return node.site
    return None


def site_nodes(converted: fx.GraphModule, graph: Graph) -> dict[str, fx.Node]:
    """By site, the node that computes it in what convert_fx made of a model that ``fx.constrain`` wrote.

    Modules of torch stand at their nodes' names; of an add, which convert_fx makes a function, the module in front of
    it does; what is several ops (a layer in slices, padding) ends with the last one traced in the scope of its name.
    """
    names = {node.name: node.site for node in graph.nodes if node.op not in RAW and op_of(node).grid != "alias"}
    calls: Counter[str] = Counter()
    found: dict[str, fx.Node] = {}
    for node in converted.graph.nodes:
        stack = (node.meta.get("nn_module_stack") or {}).items()
        scopes = [_called(str(key), str(scope[0])).removesuffix(SAME_GRID_SUFFIX) for key, scope in stack]
        if node.op == "call_module":
            path = str(node.target)
            name = path if not calls[path] else f"{path}__call{calls[path]}"
            calls[path] += 1
            entrance = path.removesuffix(".identity")
            if name.removesuffix(SAME_GRID_SUFFIX) in names:
                found[names[name.removesuffix(SAME_GRID_SUFFIX)]] = node
            elif entrance in names and graph[entrance].op == INPUT:
                found[names[entrance]] = node
            else:
                found.update((names[scope], node) for scope in scopes if scope in names)
        elif _is_of_two(node):
            before = node.args[0]
            path = str(before.target).removesuffix(".identity")
            if path in names:
                found[names[path]] = node
        else:
            found.update((names[scope], node) for scope in scopes if scope in names)
    return found


def _called(key: str, path: str) -> str:
    """The name of the node that a scope is: a module's path, and which call of it, which torch.fx counts in the key."""
    count = key.rpartition("@")[2]
    return f"{path}__call{count}" if key != path and count.isdigit() else path


def _is_of_two(node: fx.Node) -> bool:
    """Whether a kernel computes an op of two activations, with or without its ReLU."""
    name = getattr(node.target, "__name__", "").removesuffix("_relu")
    return node.op == "call_function" and name in of_two()


def recorded(graph: fx.GraphModule, batch: Sequence[Any], nodes: set[fx.Node]) -> dict[fx.Node, Any]:
    """What some nodes of a graph give on a batch."""
    values: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes:
                values[n] = result
            return result

    with torch.no_grad():
        Recorder(graph).run(*batch)
    return values
