"""Which spec every edge and output of an exported graph gets, so that it computes what a recipe's simulation does."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import fx
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpecBase, SharedQuantizationSpec

from mpq_plugins.errors import RecipeMismatch, UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.training.method import TrainingMethod
from mpq_torch.calling.node_arguments import source_of
from mpq_torch.pt2e.exported_names import ExportedNames
from mpq_torch.pt2e.exported_ops import (
    BATCH_NORMS,
    CLAMPS,
    RECTIFIERS,
    SAME_GRID,
    WEIGHTED,
    argument,
    clamped_codes,
    op_of,
    quantizable,
    tensors_of,
)
from mpq_torch.pt2e.specs import FixedGrid, TrainedGrid, activation_spec, bias_spec, weight_spec
from mpq_torch.reader.aten_names import functions, of_two

Place = fx.Node | tuple[fx.Node, fx.Node]
"""Where a tensor is quantized: at a node's output, or on the edge from a node to a reader."""


@dataclass
class SiteAnnotation(QuantizationAnnotation):  # type: ignore[misc]  # torchao has no types
    """An annotation that other quantizers of torchao can read: X86InductorQuantizer asks for this field."""

    _is_output_of_quantized_pattern: bool = False


@dataclass
class Value:
    """A tensor on a grid. site: whose grid. codes: smallest and largest that may occur. place: where it is quantized.

    A place of None means not yet: the op behind it, a ReLU, say, is fused into it and takes it on.
    """

    site: str
    codes: tuple[int, int]
    place: Place | None


@dataclass
class RecipeAnnotations:
    """Walks a graph once and collects an annotation for every quantizable op.

    method: learns the grids instead of taking those of the recipe; sites of one group then share one
    fake-quantizer. annotations: node -> SiteAnnotation. sites: node or edge -> the site quantized there.
    weights: sites of the weights that were met.
    """

    graph: fx.Graph
    recipe: Recipe
    shifted_inputs: bool
    method: TrainingMethod | None = None
    annotations: dict[fx.Node, SiteAnnotation] = field(default_factory=dict)
    sites: dict[Place, str] = field(default_factory=dict)
    weights: dict[str, fx.Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = ExportedNames(self.graph, self.recipe)
        self._values: dict[fx.Node, Value] = {}
        self._weight_places: dict[str, Place] = {}
        self._trained_places: dict[str, Place] = {}
        self._input_steps: dict[str, list[float]] = {}
        self._biases: list[tuple[SiteAnnotation, fx.Node, Value, tuple[fx.Node, fx.Node]]] = []
        for node in self.graph.nodes:
            if op_of(node) in quantizable() and not self._names.stays_float(node) and tensors_of(node):
                self._visit(node)
        self._annotate_biases()
        self._check_complete()

    def name(self, node: fx.Node) -> str:
        """What the recipe calls a node."""
        return self._names[node]

    def _visit(self, node: fx.Node) -> None:
        op = op_of(node)
        if op in of_two() and (not isinstance(argument(node, "other"), fx.Node) or argument(node, "alpha", 1) != 1):
            return
        if op in BATCH_NORMS:
            self._batch_norm(node)
        elif op in WEIGHTED | of_two() | functions():
            self._own_grid(node)
        elif op in RECTIFIERS or op in CLAMPS:
            self._alias(node)
        else:
            self._same_grid(node)

    def _own_grid(self, node: fx.Node) -> None:
        annotation = self._annotate_inputs(node)
        site = self._names[node]
        if op_of(node) in WEIGHTED:
            self._annotate_parameters(node, annotation)
        grid = self._grid(site, node)
        self._put(node, annotation, Value(site, (grid.low, grid.high), None))

    def _alias(self, node: fx.Node) -> None:
        """A ReLU or clamp: part of the op before it where that has no other reader, else on its grid."""
        source = self._value(source_of(node), node)
        annotation = self._annotate_inputs(node)
        codes = source.codes
        # while a grid is learned, how many codes a clamp leaves is not known: the clamp itself stays in the graph
        if op_of(node) in CLAMPS and self.method is None:
            codes = clamped_codes(node, self.recipe[source.site], codes)
        shared = source.place if codes == source.codes else None
        self._put(node, annotation, Value(source.site, codes, None), shared)

    def _same_grid(self, node: fx.Node) -> None:
        """Pooling, concat or an op that moves elements: the output shares its observer with the input."""
        annotation = self._annotate_inputs(node)
        sources = [self._value(source, node) for source in tensors_of(node)]
        first = sources[0]
        grid = self.recipe[first.site]
        others = [s.site for s in sources if self.recipe[s.site] != grid]
        if others:
            raise RecipeMismatch(
                f"{self._names[node]} reads {first.site} and {others[0]}, which must share one grid, and have "
                f"{grid} and {self.recipe[others[0]]}; search this model anew"
            )
        whole = (grid.low, grid.high)
        shared = next((s.place for s in sources if s.codes == whole), None)
        self._put(node, annotation, Value(first.site, whole, None), shared)

    def _batch_norm(self, node: fx.Node) -> None:
        """The batch norm of a layer, which torchao folds; one that stands alone is a layer of the recipe."""
        source = self._values.get(source_of(node))
        if source is not None and source.place is None and op_of(source_of(node)) in WEIGHTED:
            self._put(node, SiteAnnotation(), Value(source.site, source.codes, None))
            return
        if f"{self._names[node]}.weight" in self.recipe:
            raise UnsupportedOp(
                f"batch norm {self._names[node]} stands alone, and the recipe runs it as a depthwise convolution; "
                "export the model that pt2e.constrain returns"
            )

    def _put(self, node: fx.Node, annotation: SiteAnnotation, value: Value, shared: Place | None = None) -> None:
        """Give the node's output its spec, unless the op behind it is fused and takes it on."""
        self._values[node] = value
        if annotation.input_qspec_map:
            self.annotations[node] = annotation
        if shared is None and self._fused(node):
            return
        value.place = node
        spec = self._activation_spec(value, node)
        annotation.output_qspec = spec if shared is None else SharedQuantizationSpec(shared)
        annotation._annotated = True
        self.annotations[node] = annotation
        self.sites[node] = value.site

    def _fused(self, node: fx.Node) -> bool:
        """Whether the only reader of a computing op is a ReLU, a clamp or a batch norm."""
        readers = list(node.users)
        if len(readers) != 1 or op_of(node) in SAME_GRID or self._names.stays_float(readers[0]):
            return False
        return op_of(readers[0]) in RECTIFIERS | CLAMPS or (
            op_of(node) in WEIGHTED and op_of(readers[0]) in BATCH_NORMS
        )

    def _annotate_inputs(self, node: fx.Node) -> SiteAnnotation:
        annotation = SiteAnnotation(_annotated=True)
        for source in tensors_of(node):
            value = self._value(source, node)
            if value.place == (source, node):
                grid = self.recipe[value.site]
                shifted = self.shifted_inputs and grid.low < 0
                annotation.input_qspec_map[source] = self._activation_spec(value, (source, node), shifted)
            elif value.place is not None:
                annotation.input_qspec_map[source] = SharedQuantizationSpec(value.place)
        return annotation

    def _activation_spec(self, value: Value, place: Place, shifted: bool = False) -> QuantizationSpecBase:
        entry = self.recipe.site(value.site)
        if self.method is None:
            return activation_spec(FixedGrid(entry.grid, value.codes, shifted))
        first = self._trained_places.setdefault(entry.group or entry.site, place)
        return (
            activation_spec(TrainedGrid(self.method, entry, shifted))
            if first == place
            else SharedQuantizationSpec(first)
        )

    def _value(self, source: fx.Node, reader: fx.Node) -> Value:
        """The value that a quantizable op reads; a float tensor is quantized on the way to its first reader."""
        if source not in self._values:
            site = self._names[source]
            if site not in self.recipe:
                raise UnsupportedOp(
                    f"{self._names[reader]} reads {site} ({source.target}), which has no grid in the recipe; "
                    "search this model anew, or name what has no integer form in keep_float"
                )
            grid = self.recipe[site]
            self._values[source] = Value(site, (grid.low, grid.high), (source, reader))
            self.sites[source, reader] = site
        return self._values[source]

    def _annotate_parameters(self, node: fx.Node, annotation: SiteAnnotation) -> None:
        path = self._names.layer(node)
        site, weight, bias = f"{path}.weight", argument(node, "weight"), argument(node, "bias")
        grid = self._grid(site, node)
        shape = tuple(weight.meta["val"].shape) if "val" in weight.meta else self.recipe.site(site).shape
        if shape != self.recipe.site(site).shape:
            raise RecipeMismatch(
                f"{site} has shape {shape} in the exported graph and {self.recipe.site(site).shape} in the recipe; "
                "export the model that pt2e.constrain returned (fx.constrain splits layers for torch's own kernels)"
            )
        self.weights[site] = weight
        place = self._weight_places.setdefault(site, (weight, node))
        maker = FixedGrid(grid) if self.method is None else TrainedGrid(self.method, self.recipe.site(site))
        annotation.input_qspec_map[weight] = (
            weight_spec(maker) if place == (weight, node) else SharedQuantizationSpec(place)
        )
        source = self._values[source_of(node)]
        self._input_steps.setdefault(path, []).append(self.recipe[source.site].steps[0])
        if isinstance(bias, fx.Node):
            self._biases.append((annotation, bias, source, (weight, node)))

    def _annotate_biases(self) -> None:
        """Last of all: the one bias of a layer that is called twice lies on the coarser accumulator."""
        for annotation, bias, source, weight in self._biases:
            path = self._names.layer(weight[1])
            per_channel = self.recipe[f"{path}.weight"].axis is not None
            coarsest = max(self._input_steps[path]) if self.method is None else 0.0
            assert source.place is not None, f"{path} reads what is nowhere quantized"
            annotation.input_qspec_map[bias] = bias_spec(source.place, weight, per_channel, coarsest)

    def _grid(self, site: str, node: fx.Node) -> Grid:
        if site not in self.recipe:
            raise RecipeMismatch(
                f"{site} ({node.target}) is in the graph and has no grid in the recipe, which has "
                f"{', '.join(list(self.recipe)[:8])}; search this model anew, or export the model "
                "that pt2e.constrain returned for the recipe"
            )
        return self.recipe[site]

    def _check_complete(self) -> None:
        missing = [entry.site for entry in self.recipe.weights if entry.site not in self.weights]
        if missing:
            raise RecipeMismatch(
                f"the graph has no layer for {', '.join(missing[:8])} of the recipe; export the model that the recipe "
                "was made for, with torch.export.export(model, args).module()"
            )
