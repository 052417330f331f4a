"""A built tf_keras model read into a Graph: nested models flattened, batch norms folded, ReLUs fused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mpq_plugins.exporters.refusals import refused_by
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.refusals import refuses_nothing
from mpq_plugins.hardware.target import Target
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.checking import check_model
from mpq_tfmot.reader.expanding import is_graph, of_model
from mpq_tfmot.reader.keras_calls import calls_of
from mpq_tfmot.reader.walking import Walk
from mpq_tfmot.reader.whole_sizes import with_whole_sizes
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only Keras can do.

    again: node -> calls its layer, made anew, on other tensors; of what has no weight of its own and is as it was.
    own_weights: of layers without a record, their variables' values.
    wrappers: layer -> the TF-MOT wrapper that it has.
    taken, returned: the structures of the arguments, by name, and of the results, as numbers of the graph's outputs;
    output_names: what Keras calls those.
    """

    graph: Graph
    runner: TensorflowRunner
    again: Mapping[str, Any] = field(default_factory=dict)
    own_weights: Mapping[str, list[Any]] = field(default_factory=dict)
    wrappers: Mapping[str, Any] = field(default_factory=dict)
    taken: Any = None
    returned: Any = None
    output_names: tuple[str, ...] = ()
    batch_size: int = 0
    """The only one that the model takes; 0 where it takes any."""


def read_model(
    model: Any,
    keep_float: Iterable[str] = (),
    *,
    fold: bool = True,
    target: Target | None = None,
    refusing: bool = False,
) -> Reading:
    """Read a tf_keras model, which is left untouched; a subclassed one has to have been called, and to call layers.

    keep_float: names of layers, or patterns of them, to leave in float.
    fold: False leaves batch norms that follow a layer as nodes of their own, to train with.
    target: for one without float arithmetic recurrent layers are unrolled. Its kernels are those
        that the graph is to fit (``graph.fitted``). refusing: refuse what it cannot compute.
    Raises ModelError for a model of another kind, NonFiniteValues for NaN weights, and UnsupportedOp, with all
    names, for an op without an integer form in front of a weight.
    """
    check_model(model)
    if not is_graph(model):
        model = of_model(model)
    model = with_whole_sizes(model, list(calls_of(model)))
    walk = Walk(unrolled=target is not None and not target.float_arithmetic)
    refuses = refused_by(target) if refusing and target is not None else refuses_nothing
    graph = settled(walk.read(model), keep_float, fold=fold, target=target, refuses=refuses)
    again = {name: call for name, call in walk.again.items() if name in graph and walk.made_alone(graph[name])}
    taken = tf.nest.map_structure(lambda tensor: tensor.node.layer.name, model._nested_inputs)
    returned = tf.nest.pack_sequence_as(model._nested_outputs, list(range(len(graph.outputs))))
    return Reading(
        graph,
        TensorflowRunner({name: part for name, part in walk.floats.items() if walk.is_call(graph, name)}),
        again,
        walk.own_weights,
        walk.wrappers,
        taken,
        returned,
        tuple(model.output_names),
        next((int(tensor.shape[0]) for tensor in model.inputs if tensor.shape[0] is not None), 0),
    )
