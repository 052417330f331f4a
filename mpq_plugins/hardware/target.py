"""Target: a piece of hardware, as the grids that each op may use and the way it computes on them.

Calling this module, ``mpq_plugins.hardware.target()``, gives the registered targets by name.
"""

from __future__ import annotations

from os import PathLike
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from mpq_plugins.errors import MPQError, ProcessorLimit, TargetError, UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import ActivationGrids, Candidate, OpSupport, Rounding, WeightGrids, as_tuple
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_plugins.inventory import Site
from mpq_plugins.registry import known
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading(None, 1, "target", TargetError)
ANY_OP = "*"
LOOKUP = "lookup"
"""The word that stands for every function of one element that a target does not list by its own."""


class Runtime(Schema):
    """What executes a model on the target: an adapter's framework and the name of its engine."""

    error: ClassVar[type[MPQError]] = TargetError
    framework: str
    engine: str


class Target(Schema):
    """A piece of hardware.

    name: lower case, digits, ``-``, ``_`` and ``.``. description: one line, listed by ``mpq targets``.
    ops: by op word (op_support.OPS, or a vendor's own) what the op may use; ``"*"`` holds the
        defaults of all ops. Without ``"*"``, an op that is not listed is refused.
    runtime: what executes it; None for a simulation only.
    saturation: the limit of kernels that add products in few bits; None where there is none.
    accumulator_bits: of the sums of products. cost_models: names of the resources that make sense.
    float_arithmetic: whether what has no integer kernel runs in float between two grids, without being asked; else it
        is refused in front of a quantized layer.

    Raises TargetError naming the field and the value. ``Target.load`` and ``save`` read and write JSON.

    >>> target = Target(name="npu", ops={"*": {"activation": {"bits": [8]}}, "linear": {"weight": {"bits": [4, 8]}}})
    >>> [c.bits for c in target.weight_candidates("linear")], target.rounding("linear")
    ([4, 8], 'half_even')
    """

    error: ClassVar[type[MPQError]] = TargetError
    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    ops: dict[str, OpSupport] = Field(min_length=1)
    runtime: Runtime | None = None
    saturation: PairSaturation | None = None
    accumulator_bits: int = Field(default=32, ge=8, le=64)
    float_arithmetic: bool = False
    cost_models: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = (
        "weight_bytes",
        "activation_bytes",
        "average_weight_bits",
        "average_activation_bits",
        "bops",
    )

    @field_validator("ops")
    @classmethod
    def _named(cls, ops: dict[str, OpSupport]) -> dict[str, OpSupport]:
        if any(not op.strip() for op in ops):
            raise ValueError("an op needs a name")
        return ops

    @classmethod
    def from_json(cls, text: str | bytes, origin: str = "target") -> Target:
        """The target of a JSON text; ``origin`` names it in errors. Raises TargetError."""
        return HEADING.model(cls, text, origin)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Target:
        """Read a target from a JSON file. Raises TargetError when it is none or cannot be read."""
        return HEADING.load(cls, path)

    def save(self, path: str | PathLike[str]) -> None:
        """Write ``to_json`` to a file. Raises OutputError."""
        whole_file.write(path, self.to_json())

    def runs(self, op: str) -> bool:
        """Whether the target has the op: by its word, as a table of codes, or by ``"*"``."""
        return self._listed(op) in self.ops or ANY_OP in self.ops

    def _listed(self, op: str) -> str:
        record = known().ops.get(op)
        return LOOKUP if op not in self.ops and record is not None and record.table else op

    def support(self, op: str) -> OpSupport:
        """What the target says about an op, with the defaults of ``"*"`` filled in.

        Raises UnsupportedOp when neither the op nor ``"*"`` is listed, nor "lookup" for a function of one element.
        """
        if not self.runs(op):
            raise UnsupportedOp(f"target {self.name!r} does not run {op}; it runs {', '.join(sorted(self.ops))}")
        default, own = self.ops.get(ANY_OP, OpSupport()), self.ops.get(self._listed(op), OpSupport())
        given = {name: getattr(own, name) for name in OpSupport.model_fields if getattr(own, name) is not None}
        return default.model_copy(update=given)

    def weight_candidates(self, op: str, vnni: bool | None = None) -> tuple[Candidate, ...]:
        """The grids that the op's weight may get, by bits, per tensor first.

        vnni: whether the processor has no saturation limit; None asks this processor. With the
        limit, bit-widths that could overflow with the widest activation of the target are left out.
        Raises UnsupportedOp when the target has no weight grid for the op.
        """
        grids = self._weight_grids(op)
        capped = self._capped(grids, vnni)
        return tuple(
            Candidate(bits, True, granularity == "channel", grids.narrow, grids.power_of_two)
            for granularity in sorted(grids.granularity, reverse=True)
            for bits in grids.bits
            if bits not in capped
        )

    def activation_candidates(self, op: str, signed: bool) -> tuple[Candidate, ...]:
        """The grids that the op's output may get, by bits.

        signed: whether values below zero occur. Values that are never negative get unsigned grids
        where the target has them, else signed ones. Raises UnsupportedOp when there is no grid.
        """
        grids = self._activation_grids(op)
        if signed and not grids.signed:
            raise UnsupportedOp(
                f"target {self.name!r} has only unsigned grids for the output of {op}, and its values go below zero"
            )
        use_signed = signed or not grids.unsigned
        return tuple(Candidate(b, use_signed, False, False, grids.power_of_two, grids.exponent) for b in grids.bits)

    def rounding(self, op: str) -> Rounding:
        """How the op rounds ties onto the grid of its output; half to even unless the target says."""
        return self.support(op).rounding or "half_even"

    def bias(self, op: str) -> Literal["accumulator", "float"]:
        """What the runtime makes of the op's bias; "accumulator" unless the target says."""
        return self.support(op).bias or "accumulator"

    def keeps_input_grid(self, op: str) -> bool:
        """Whether the op's inputs and output must share one grid."""
        return bool(self.support(op).keeps_input_grid)

    def check(self, site: Site, grid: Grid) -> None:
        """Raise UnsupportedOp or TargetError, naming the site, unless the site may have this grid."""
        try:
            grids = self._weight_grids(site.op) if site.kind == "weight" else self._activation_grids(site.op)
        except UnsupportedOp as error:
            raise UnsupportedOp(f"site {site.name!r}: {error}") from None
        reason = grids.objection(grid, site.channel_axis) if isinstance(grids, WeightGrids) else grids.objection(grid)
        if reason is not None:
            raise TargetError(
                f"site {site.name!r}: target {self.name!r} has no grid of {grid} for the {site.kind} of {site.op}: "
                f"{reason}"
            )

    def allows(self, site: Site, grid: Grid) -> bool:
        """Whether the site may have this grid: what ``check`` says, as a truth value."""
        try:
            self.check(site, grid)
        except (TargetError, UnsupportedOp):
            return False
        return True

    def check_products(self, site: str, weight: Grid, activation: Grid, vnni: bool | None = None) -> None:
        """Raise ProcessorLimit, naming the weight's site, if products of two grids could saturate.

        vnni: as in ``weight_candidates``.
        """
        limit = self.saturation
        if limit is None or not self._limited(vnni):
            return
        if limit.saturates(weight.bits, activation.bits, weight.narrow):
            largest = limit.largest_sum(weight.bits, activation.bits, weight.narrow)
            raise ProcessorLimit(
                f"site {site!r}: {weight.bits}-bit weights with {activation.bits}-bit "
                f"{'signed' if activation.signed else 'unsigned'} activations can sum {limit.pairs} products to "
                f"{largest}, past the {limit.limit} that this processor keeps (it has none of "
                f"{', '.join(limit.unless_flags)}); use weights of at most {self._weight_cap(weight, activation)} bits"
            )

    def _weight_cap(self, weight: Grid, activation: Grid) -> int:
        limit, bits = self.saturation or PairSaturation(), weight.bits
        while bits > 1 and limit.saturates(bits, activation.bits, weight.narrow):
            bits -= 1
        return bits

    def _limited(self, vnni: bool | None) -> bool:
        return self.saturation is not None and (self.saturation.applies() if vnni is None else not vnni)

    def _capped(self, weights: WeightGrids, vnni: bool | None) -> frozenset[int]:
        """The bits of a weight with which some activation of this target would saturate."""
        limit = self.saturation
        if limit is None or not self._limited(vnni):
            return frozenset()
        every = {grids.bits[-1] for op in self.ops if (grids := self.support(op).activation) is not None}
        return frozenset(b for b in weights.bits if any(limit.saturates(b, most, weights.narrow) for most in every))

    def _weight_grids(self, op: str) -> WeightGrids:
        grids = self.support(op).weight
        if grids is None:
            raise UnsupportedOp(f"target {self.name!r} has no grid for the weight of {op}")
        return grids

    def _activation_grids(self, op: str) -> ActivationGrids:
        grids = self.support(op).activation
        if grids is None:
            raise UnsupportedOp(f"target {self.name!r} has no grid for the output of {op}")
        return grids
