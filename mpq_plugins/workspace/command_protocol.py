"""What an adapter does for the commands that take a user's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mpq_plugins.hardware.target import Target
from mpq_plugins.integers.program import Program
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.search_input import MeasuredModel


@dataclass(frozen=True)
class Measured:
    """A float model as numbers. framework: name and version."""

    model: MeasuredModel
    framework: str


@dataclass(frozen=True)
class Exported:
    """What an export wrote. content: the file's bytes. verification: of it against the simulation; None
    where nothing here can run it. summary: what it is, in a few words.
    """

    content: bytes
    summary: str
    verification: Verification | None = None


class Export(Protocol):
    """Converts a model by a recipe, verifies the result on the batches, and gives the bytes of a file."""

    def __call__(self, model: Any, recipe: Recipe, batches: Sequence[Any]) -> Exported:
        """model: float, as the user gave it. batches: as ``batches`` returned them."""


@dataclass(frozen=True)
class ExportFormat:
    """A format that ``mpq export --to`` offers. suffix: of its files."""

    suffix: str
    export: Export = field(repr=False)


class FrameworkCommands(Protocol):
    """The module that ``commands()`` of an adapter returns. Everything raises subclasses of MPQError.

    keep_float: names of modules or ops that stay in float.
    """

    EXPORTS: Mapping[str, ExportFormat]

    def load_model(self, path: Path) -> Any:
        """The model of a file with one of the adapter's model_suffixes."""

    def batches(self, model: Any, calibration: Any, keep_float: Sequence[str] = ()) -> list[Any]:
        """Calibration data as the adapter's batches; NumPy arrays become tensors.

        Raises ModelError, naming the shapes, where a sample does not go through the model.
        """

    def fingerprint(self, model: Any, batches: Sequence[Any], keep_float: Sequence[str] = ()) -> str:
        """A hash of the model's structure and weights and of the data."""

    def inventory(
        self, model: Any, batches: Sequence[Any], keep_float: Sequence[str] = (), target: Target | None = None
    ) -> Inventory:
        """All sites of the model, as a target's kernels have it."""

    def measure(
        self,
        model: Any,
        batches: Sequence[Any],
        check: Callable[[Inventory], None],
        keep_float: Sequence[str] = (),
        progress: bool | None = None,
        target: Target | None = None,
        memory: int | None = None,
        kept: Path | None = None,
    ) -> Measured:
        """Measure the float model, as a target's kernels have it.

        check: is asked about the inventory before anything takes long. memory: bytes that it may take, by default the
        machine's; raises TooLittleMemory. kept: of search.measurement.Measurements.
        """

    def constrain(self, model: Any, recipe: Recipe, batches: Sequence[Any]) -> Any:
        """The float model on the recipe's grids."""

    def integers(self, on_grid: Any, recipe: Recipe, batches: Sequence[Any]) -> tuple[Program, Verification]:
        """The model as integers and shifts, and a comparison of them with the simulation."""

    def site_values(
        self, model: Any, on_grid: Any, recipe: Recipe, batches: Sequence[Any]
    ) -> Iterator[tuple[str, Array, Array]]:
        """(activation site, its values in the float model, those in the simulation), batch after batch.

        model: the user's; on_grid: what ``constrain`` returned.
        """

    def verify(self, on_grid: Any, recipe: Recipe, batches: Sequence[Any]) -> Verification:
        """Convert for the recipe's target and compare with the simulation on the batches.

        Raises TargetError where another framework runs the target.
        """
