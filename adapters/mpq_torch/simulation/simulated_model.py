"""The simulation of a recipe as a torch module with the arguments and the outputs of the model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import NEEDS
from mpq_torch.calling.arguments import Takes, takes_of
from mpq_torch.calling.batches import Batch, as_batches
from mpq_torch.modules.written import Simulated
from mpq_torch.reader.fitting import read_quantized
from mpq_torch.reader.reading import Reading


class SimulatedModel(Simulated):
    """Computes exactly what the recipe's target computes in integers; outputs are float tensors of grid values.

    reading: of the model. simulation: of its graph, weights and biases on their grids.
    """

    def __init__(self, reading: Reading, quantized: QuantizedGraph) -> None:
        super().__init__()
        self.reading = reading
        self.simulation = Simulation(quantized, reading.runner)

    @property
    def takes(self) -> Takes:
        """The arguments of the model."""
        return self.reading.takes

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.reading.structured(self.simulation.outputs(self.arguments(*arguments, **named)))

    def arguments(self, *arguments: Any, **named: Any) -> tuple[Any, ...]:
        """The arguments of the graph from those of a call. Raises ModelError where one is missing or too many."""
        names = self.takes.names
        if len(arguments) > len(names) or set(named) - set(names[len(arguments) :]):
            raise ModelError(f"the model takes the arguments {', '.join(names)}, and was given others")
        return self.reading.given(self.takes.in_order({**dict(zip(names, arguments, strict=False)), **named}))

    def sites(self, *arguments: Any, **named: Any) -> dict[str, Tensor]:
        """The values of every activation site, as float tensors of grid values."""
        return self.simulation.sites(self.arguments(*arguments, **named))


def simulation_of(simulated: Any, recipe: Recipe | None, inputs: Any) -> tuple[SimulatedModel, list[Batch]]:
    """What a ``verify`` compares with, and the batches of its inputs.

    simulated: what ``simulate`` returned; or the model itself, or what ``constrain`` made of it, with its recipe.
    Raises ModelError for anything else.
    """
    if isinstance(simulated, SimulatedModel):
        return simulated, as_batches(inputs, simulated.takes)
    if not isinstance(simulated, nn.Module) or recipe is None:
        raise ModelError(NEEDS)
    batches = as_batches(inputs, takes_of(simulated))
    return SimulatedModel(*read_quantized(simulated, recipe, batches[0])), batches
