"""Comparing an exported model, as onnxruntime computes it, with what was simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx.running import load, metadata, run, session, tail_of, with_outputs
from mpq_plugins.exporters.onnx.writer import END_ORDERS, FLOAT_PARTS, INTEGER_OUTPUTS, SITES
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.verification import Verification

Array = NDArray[Any]


@dataclass(frozen=True)
class Simulated:
    """What a simulation gives for one batch, as float arrays of grid values.

    feeds: of the model, by the order of its inputs. ends: the outputs of the integer part. sites: by name, in the
    order of execution, each with its step. outputs: what the framework gives for the model's outputs, flat.
    with_floats: the same batch, with what the runtime computes in float between grids, by node. distance: of that, the
    largest from what the framework computes there.
    """

    feeds: Sequence[Array]
    ends: Sequence[Array]
    sites: Callable[[], Mapping[str, tuple[Array, float]]]
    outputs: Sequence[Array] | None = None
    with_floats: Callable[[Mapping[str, Array]], Simulated] | None = None
    distance: float | None = None


def simulated(
    simulation: Simulation,
    arguments: Sequence[Any],
    feeds: Sequence[Array],
    floats: Mapping[str, Array] | None = None,
) -> Simulated:
    """One batch of a simulation. arguments: of the model, as its framework's tensors; feeds: the arrays among them.

    floats: what float nodes give, where the framework is not to compute them.
    """
    graph, quantized, array = simulation.graph, simulation.quantized, simulation.runner.numpy
    given = {name: simulation.runner.tensor(value) for name, value in (floats or {}).items()}
    found = simulation.run(arguments, given=given)
    on_grid = [node for node in graph.nodes if node.name in quantized.grid_of]
    wanted = {*graph.outputs, *graph.integer_outputs, *given, *(node.name for node in on_grid)}
    values = {name: array(simulation.value(name, found[name])) for name in wanted}

    def sites() -> dict[str, tuple[Array, float]]:
        return {node.site: (values[node.name], quantized.grid(node).steps[0]) for node in on_grid}

    def distance(name: str) -> float:
        node = graph[name]
        own = array(simulation.step(node, [found[source] for source in node.inputs]))
        return float(np.abs(own.astype(np.float64) - values[name]).max(initial=0))

    return Simulated(
        feeds,
        [values[n] for n in graph.integer_outputs],
        sites,
        [values[n] for n in graph.outputs],
        lambda known: simulated(simulation, arguments, feeds, known),
        max(map(distance, given)) if given else None,
    )


def compare(model: Any, batches: Iterable[Simulated], optimized: bool = True) -> Verification:
    """Compare an exported model in onnxruntime with its simulation, element by element.

    The model runs as it is, and the ends of the integer part are compared; where they differ, every site of that
    batch, to name the first. Outputs behind float ops are compared, bit for bit, with what onnxruntime computes from
    the simulated ends by the part of the model that lies behind them. What is float between grids is computed by
    onnxruntime for both, since exp and sums have other last bits there, and its distance from the framework is told.
    """
    comparison = _Comparison(load(model), optimized)
    for batch in batches:
        comparison.add(batch)
    return comparison.result()


@dataclass
class _Comparison:
    proto: Any
    optimized: bool
    elements: int = 0
    mismatched: int = 0
    largest: float = 0.0
    first: str | None = None
    float_elements: int = 0
    float_mismatched: int = 0
    distances: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ends: list[str] = metadata(self.proto, INTEGER_OUTPUTS)
        self.names = [info.name for info in self.proto.graph.output]
        self.orders: dict[str, list[int]] = metadata(self.proto, END_ORDERS, {})
        self.parts: dict[str, list[Any]] = metadata(self.proto, FLOAT_PARTS, {})
        self.floats = [name for name in self.names if name not in self.ends]
        self.running = session(self.proto, self.optimized)

    def add(self, batch: Simulated) -> None:
        """Compare one batch."""
        if self.parts and batch.with_floats is not None:
            names = [name for name, *_ in self.parts.values()]
            found = run(self._between, batch.feeds, names)
            batch = batch.with_floats(
                {
                    part: _ordered(array, order)
                    for (part, (_, *order)), array in zip(self.parts.items(), found, strict=True)
                }
            )
            self.distances += [] if batch.distance is None else [batch.distance]
        if len(self.ends) != len(batch.ends):
            raise ModelError(f"the ONNX model has {len(self.ends)} integer outputs, its simulation {len(batch.ends)}")
        got = dict(zip(self.names, run(self.running, batch.feeds), strict=True))
        inner = [name for name in self.ends if name not in got]
        if inner:
            got |= dict(zip(inner, run(self._inside, batch.feeds, inner), strict=True))
        different = sum(self._end(got[name], wanted) for name, wanted in self._stored(batch))
        if different:
            self.mismatched += different
            self.first = self.first or first_difference(self.proto, batch, self.optimized)
        if self.floats:
            self._float_ends(got, batch)

    def _stored(self, batch: Simulated) -> Iterator[tuple[str, Array]]:
        """The ends of the integer part by name, with their axes in the order that they have in the file."""
        for name, end in zip(self.ends, batch.ends, strict=True):
            yield name, end.transpose(self.orders[name]) if name in self.orders else end

    @cached_property
    def _inside(self) -> Any:
        return session(with_outputs(self.proto, self.ends), self.optimized)

    @cached_property
    def _between(self) -> Any:
        return session(with_outputs(self.proto, [name for name, *_ in self.parts.values()]), self.optimized)

    @cached_property
    def _tail(self) -> Any:
        return session(tail_of(self.proto, self.ends), self.optimized)

    def _end(self, got: Array, wanted: Array) -> int:
        if got.shape != wanted.shape:
            raise ModelError(f"the ONNX model returns {list(got.shape)}, its simulation {list(wanted.shape)}")
        difference = np.abs(got.astype(np.float64) - wanted)
        self.elements += difference.size
        self.largest = max(self.largest, float(difference.max(initial=0)))
        return int(np.count_nonzero(difference))

    def _float_ends(self, got: Mapping[str, Array], batch: Simulated) -> None:
        given = dict(zip((info.name for info in self.proto.graph.input), batch.feeds, strict=True))
        given |= dict(self._stored(batch))
        read = [np.asarray(given[wanted.name], np.float32) for wanted in self._tail.get_inputs()]
        for name, wanted in zip(self.floats, run(self._tail, read, self.floats), strict=True):
            self.float_elements += wanted.size
            self.float_mismatched += int(np.count_nonzero(_bits(got[name]) != _bits(wanted)))
            if batch.outputs is not None:
                computed = np.asarray(batch.outputs[self.names.index(name)])
                if computed.shape != wanted.shape:
                    raise ModelError(
                        f"the ONNX model returns {list(wanted.shape)} as {name}, its simulation {list(computed.shape)}"
                    )
                difference = np.abs(got[name].astype(np.float64) - computed)
                self.distances.append(float(difference.max(initial=0)))

    def result(self) -> Verification:
        """What all batches have in common."""
        return Verification(
            not self.mismatched and not self.float_mismatched,
            self.largest,
            self.mismatched,
            self.elements,
            self.first,
            float_elements=self.float_elements,
            float_mismatched=self.float_mismatched,
            float_distance=max(self.distances) if self.distances else None,
        )


def _ordered(stored: Array, order: Sequence[Sequence[int]]) -> Array:
    """A tensor of the file in the order of axes that its values have. order: as of SITES, or nothing."""
    return stored.transpose(np.argsort(order[0])) if order else stored


def _bits(array: Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def first_difference(proto: Any, batch: Simulated, optimized: bool = True) -> str | None:
    """The first site, in the order of execution, whose codes differ; None where all are equal."""
    tensors = metadata(proto, SITES)
    wanted = {site: value for site, value in batch.sites().items() if site in tensors}
    names = [tensors[site][0] for site in wanted]
    got = run(session(with_outputs(proto, names), optimized), batch.feeds, names)
    for (site, (values, step)), stored in zip(wanted.items(), got, strict=True):
        _, zero_point, *order = tensors[site]
        values = values.transpose(order[0]) if order else values
        codes = stored.astype(np.int64) - zero_point
        if codes.shape != values.shape or not np.array_equal(codes, np.rint(values.astype(np.float64) / step)):
            return site
    return None
