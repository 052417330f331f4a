"""An analytic accelerator: an array of units that compute faster on fewer bits, for hardware nobody has at hand.

After Bit Fusion (arXiv 1712.01507): each unit holds 4 x 4 bricks that multiply 2 by 2 bits, and a product
of w by a bits takes (w / 2) * (a / 2) of them, so a unit gives 1 product of 8 x 8 bits a cycle, or 16 of
2 x 2. The sizes below are round numbers of ours; a BitArray with others is registered in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from mpq_plugins.builtin.generic import SAME_GRID_OPS
from mpq_plugins.errors import CostError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.op_support import ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.plugins.hookspecs import hookimpl

NAME = "bit-array"
MOST_BITS = 8


@dataclass(frozen=True)
class BitArray:
    """An array of rows x columns units; rows share an output, columns an input.

    brick_bits: of one operand of a brick; a unit has (8 / brick_bits) squared of them.
    bytes_per_cycle: between the array and memory. clock_hz: cycles in a second.
    picojoules_per_mac: of a product of 8 x 8 bits (fewer bricks take their share of it), and
    picojoules_per_byte: of memory; without both of them there is no energy.

    >>> array = BitArray(rows=16, columns=16, bytes_per_cycle=16, clock_hz=5e8)
    >>> conv = Workload("conv2d", ((16, 32, 32),), (32, 16, 16), (32, 16, 3, 3), (2, 2), (1, 1))
    >>> array.cycles(conv.at(8, 8)), array.cycles(conv.at(4, 8)), array.cycles(conv.at(4, 4))
    (4608, 2560, 1536)
    """

    rows: int = 16
    columns: int = 16
    brick_bits: int = 2
    bytes_per_cycle: float = 16.0
    clock_hz: float = 500e6
    picojoules_per_mac: float | None = None
    picojoules_per_byte: float | None = None

    def products(self, weight_bits: int, activation_bits: int) -> int:
        """Products that one unit computes in a cycle."""
        side = MOST_BITS // self.brick_bits
        return side * side // (self._bricks(weight_bits) * self._bricks(activation_bits))

    def compute_cycles(self, workload: Workload) -> int:
        """Cycles of the array: products of one output in its rows, outputs in its columns, positions in turn."""
        if not workload.weight:
            return 0
        weight_bits, bits = self._bits(workload)
        passes = math.ceil(workload.columns / (self.rows * self.products(weight_bits, bits)))
        passes *= math.ceil(workload.channels / workload.groups / self.columns)
        return workload.batch * workload.positions * workload.groups * passes

    def bytes_moved(self, workload: Workload) -> float:
        """Bytes of the weight, of what the op reads and of what it writes, each once, at their bits."""
        weight_bits, bits = self._bits(workload)
        elements = sum(map(math.prod, workload.inputs)) + math.prod(workload.output)
        return (math.prod(workload.weight) * weight_bits + workload.batch * elements * bits) / 8

    def cycles(self, workload: Workload) -> int:
        """The longer of computing and moving, which overlap. Ops without a weight are free: they happen on the way."""
        if not workload.weight:
            return 0
        return max(self.compute_cycles(workload), math.ceil(self.bytes_moved(workload) / self.bytes_per_cycle))

    def seconds(self, workload: Workload) -> float:
        """Seconds of one call. Raises CostError for bits that the array does not have."""
        return self.cycles(workload) / self.clock_hz

    def joules(self, workload: Workload) -> float | None:
        """Joules of one call; None where the energies of a product and of a byte are not given."""
        if self.picojoules_per_mac is None or self.picojoules_per_byte is None:
            return None
        share = 1 / self.products(*self._bits(workload))
        products = workload.macs * share * self.picojoules_per_mac
        return 1e-12 * (products + self.bytes_moved(workload) * self.picojoules_per_byte)

    def device(self, target: str) -> Device:
        """The array as the device of a target."""
        facts = {name: str(value) for name, value in asdict(self).items() if value is not None}
        return Device(target, {"analytic": "bit array", **facts}, _weighted, self.joules, modelled=True)

    def _bits(self, workload: Workload) -> tuple[int, int]:
        bits = workload.weight_bits, workload.activation_bits
        if bits[0] is None or bits[1] is None or max(bits[0], bits[1]) > MOST_BITS:
            raise CostError(
                f"the bit array multiplies up to {MOST_BITS} by {MOST_BITS} bits, and {workload} has "
                f"{bits[0]}-bit weights and {bits[1]}-bit activations"
            )
        return bits[0], bits[1]

    def _bricks(self, bits: int) -> int:
        """Bricks along one side of a product: 1, 2 or 4 of two bits."""
        return int(2 ** math.ceil(math.log2(max(1, math.ceil(bits / self.brick_bits)))))


def _weighted(workload: Workload) -> Workload | None:
    return workload if workload.weight else None


def target_of(name: str, array: BitArray) -> Target:
    """The target of an array: power-of-two grids of the widths that its bricks make."""
    bits = tuple(b for b in (2, 4, 8) if b >= array.brick_bits)
    return Target(
        name=name,
        description=f"analytic bit array of {array.rows} x {array.columns}; {', '.join(map(str, bits))} bits",
        ops={
            "*": OpSupport(
                weight=WeightGrids(bits=bits, granularity=("tensor", "channel")),
                activation=ActivationGrids(bits=bits),
                rounding="half_even",
                bias="accumulator",
            ),
            **{op: OpSupport(keeps_input_grid=True) for op in SAME_GRID_OPS},
        },
    )


ARRAY = BitArray()


@hookimpl
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Register bit-array."""
    register(target_of(NAME, ARRAY))


@hookimpl
def mpq_measure_latency(target: Target, workload: Workload) -> float | None:
    """The seconds that the formula gives."""
    return ARRAY.seconds(workload) if target.name == NAME else None


@hookimpl
def mpq_describe_device(target: Target) -> Device | None:
    """The array, as its sizes."""
    return ARRAY.device(NAME) if target.name == NAME else None
