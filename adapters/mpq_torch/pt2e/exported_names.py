"""The site names of an exported graph: those of the float module tree, as fx.inventory gives them."""

from __future__ import annotations

import re
from collections import Counter

from torch import fx

from mpq_plugins.graph.ops import all_ops
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch.modules.written import CLAMP_SUFFIX, INPUT_SUFFIX, RELU_SUFFIX, SAME_GRID_SUFFIX
from mpq_torch.pt2e.exported_ops import op_of
from mpq_torch.reader.aten_names import aten_names

_SUFFIXES = re.compile(rf"({INPUT_SUFFIX}|{RELU_SUFFIX}|{CLAMP_SUFFIX}|{SAME_GRID_SUFFIX})\d*$")
_STRICT_ROOT = re.compile(r"^L\['self'\]\.?")
_INDEXED = re.compile(r"\._modules\['([^']+)'\]")
_LEAVES = ("torch.nn.", "mpq_torch.modules.written.")


class ExportedNames:
    """What each node of an exported graph is called in a recipe.

    A node of a torch.nn module has the module's path; a functional op has the path of the module that
    calls it and the function's name; the second call of the same gets ``__call1`` and ``_1``.
    """

    def __init__(self, graph: fx.Graph, recipe: Recipe) -> None:
        self._recipe = recipe
        self._labels: dict[fx.Node, str] = {}
        self._float = frozenset(recipe.float_ops)
        calls: Counter[str] = Counter()
        seen: dict[tuple[str, str], str] = {}
        inputs = {"_".join(map(str, taken.place)): taken.name for taken in recipe.inputs}
        for node in graph.nodes:
            if node.op == "placeholder":
                self._labels[node] = inputs.get(str(node.target), str(node.target))
            elif node.op == "get_attr":
                self._labels[node] = str(node.target)
            elif node.op == "call_function":
                self._labels[node] = self._label(node, calls, seen)
        words = [word for word, op in all_ops().items() if op.arity == 2 and not op.steps]
        self._aligned = {node: site for word in words for node, site in self._in_order(graph, word).items()}

    def __getitem__(self, node: fx.Node) -> str:
        """The name of the site that the node computes, if it is one."""
        return self._aligned.get(node, self._labels.get(node, node.name))

    def layer(self, node: fx.Node) -> str:
        """The path of the layer that a node calls: its site's name without the number of the call."""
        return re.sub(r"__call\d+$", "", self[node])

    def stays_float(self, node: fx.Node) -> bool:
        """Whether the recipe leaves the op, or the module that it is a part of, in float by name.

        The site of that name is where its output gets a grid.
        """
        return self[node] in self._float

    def _label(self, node: fx.Node, calls: Counter[str], seen: dict[tuple[str, str], str]) -> str:
        around = [_SUFFIXES.sub("", path) for path, _ in _modules(node)]
        part = next((path for path in around if path in self._float), None)
        if part is not None:
            return part
        path, kind = _innermost(node)
        if path and kind.startswith(_LEAVES):
            path = _SUFFIXES.sub("", path)
            key = f"{path} {op_of(node)}"
            calls[key] += 1
            return path if calls[key] == 1 else f"{path}__call{calls[key] - 1}"
        call, function = node.meta.get("torch_fn", (node.name, node.name))
        function = function.rsplit(".", 1)[-1]
        if function.startswith("__"):
            function = function.strip("_")
        base = f"{path}.{function}".removeprefix(".")
        if base not in self._recipe and f"{base}_op" in self._recipe:
            base = f"{base}_op"
        if (base, call) not in seen:  # one call may be several nodes: x[:, :, ::2, ::2] is two slices
            seen[base, call] = base if not calls[base] else f"{base}_{calls[base]}"
            calls[base] += 1
        return seen[base, call]

    def _in_order(self, graph: fx.Graph, word: str) -> dict[fx.Node, str]:
        """Ops of two by their order in a module: torch.export calls ``y += z`` add_, torch.fx calls it add."""
        names = aten_names(all_ops()[word])
        found: dict[str, list[fx.Node]] = {}
        for node in graph.nodes:
            if op_of(node) in names and all(isinstance(source, fx.Node) for source in node.args[:2]):
                path, kind = _innermost(node)
                if not kind.startswith(_LEAVES):
                    found.setdefault(path, []).append(node)
        sites: dict[str, list[str]] = {}
        for entry in self._recipe.activations:
            if entry.op == word:
                sites.setdefault(entry.site.rpartition(".")[0], []).append(entry.site)
        return {
            node: site
            for path, nodes in found.items()
            if len(nodes) == len(sites.get(path, ()))
            for node, site in zip(nodes, sites[path], strict=True)
        }


def _innermost(node: fx.Node) -> tuple[str, str]:
    """Path and class name of the innermost module that a node was traced in."""
    return _modules(node)[-1]


def _modules(node: fx.Node) -> list[tuple[str, str]]:
    """Path and class name of the modules that a node was traced in, from the outermost; the model's own path is ""."""
    found = [("", "")]
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        named = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        found.append((_INDEXED.sub(r".\1", _STRICT_ROOT.sub("", path)).removeprefix("."), named))
    return found
