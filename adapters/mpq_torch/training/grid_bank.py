"""GridBank: one training method on a bank of grid groups, as a torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.training import checkpoint, noise
from mpq_plugins.training.alone import joined_start, parted
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.hardened_grid import hardened_grids
from mpq_plugins.training.method import NOISE, Progress, Start, TrainingMethod
from mpq_plugins.training.settling import is_measured, mean_energies
from mpq_plugins.training.slot import Observed
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.training import bank_state
from mpq_torch.training.bank_rows import Row, fixed_rows, put_on, rows_of
from mpq_torch.training.held_tensors import HeldTensors
from mpq_torch.training.replay import repeats

LEARNED = "learned_"
STATE = "state_"
PREVIOUS, PROBE, WEIGHTS, COUNTERS = "previous ", "probe", "weights", "counters"
ENERGY, ENERGIES = "energy", "energies"

Named = dict[str, Tensor]


class GridBank(HeldTensors):
    """Holds what a method keeps for the groups of a bank, and gives their grids of the moment.

    ``start`` gives it its parameters (named learned_*, trained by the optimizer) and its state (buffers
    named state_*). In train() the grids are those that the method trains at, in eval() exactly those of
    ``harden``. ``freeze`` fixes them: from then on nothing is learned, and training goes on at them.

    A state_dict taken at any moment can be loaded at any moment, by a module of the same groups and
    method; MPQError names what differs.
    """

    energies: Tensor

    def __init__(self, method: TrainingMethod, bank: Bank, seed: int = 0) -> None:
        super().__init__()
        self.method, self.plain, self.seed = method, bank, int(seed)
        self.fixed: tuple[Grid, ...] | None = None
        self.drawn_step = 0
        self._seen: Named = {}
        self._constants = list(bank.arrays)
        self._known = [*method.constants(bank)]
        for name, values in {**bank.arrays, **method.constants(bank)}.items():
            self.hold(name, np.asarray(values))
        drawn = method.noise(bank)
        if drawn is not None:
            self.hold(COUNTERS, noise.counters(bank, *drawn, self.seed, method.draws_as))
            self.hold(NOISE, np.full(self.held[COUNTERS].shape, 0.5, np.float32))
        self._probe()
        self.measuring = False
        self.register_buffer(ENERGIES, torch.zeros(len(bank.slots) + 1))  # by group, and the number of steps

    @property
    def started(self) -> bool:
        """Whether there is anything to quantize with."""
        return self.fixed is not None or any(
            name.startswith((LEARNED, STATE)) for name in (*self._parameters, *self._buffers)
        )

    @property
    def bank(self) -> Bank:
        """The bank, with its constants where this module is."""
        return self.plain.over({name: self.held[name] for name in self._constants})

    def start(self, observed: Sequence[Observed]) -> None:
        """Begin from each group's weight (an array) or its activation's Histogram."""
        starts = [self.method.start(slot, seen) for slot, seen in zip(self.plain.slots, observed, strict=True)]
        for name, values in _named(joined_start(self.method, self.plain, starts)).items():
            self._take(name, values)
        self.advance(Progress(0, 1, 1))

    def forward(self, weights: Sequence[Tensor] | None = None) -> list[Row]:
        """The grids of the moment, by group. weights: the tensors, of a bank of weights that is in train()."""
        if self.fixed is not None:
            return fixed_rows(self.plain, self.fixed, self.held)
        self.after_backward()
        repeated = self.training and repeats() and bool(self._seen)
        parameters, state = self.parameters_now(), dict(self._seen) if repeated else self._state_now()
        follows = self.training and weights is not None and self.method.follows_weights(self.plain)
        x = self.flat([w.detach() for w in weights]) if follows and weights is not None else None
        grids, updates = self.method.grids(TORCH, self.bank, x, parameters, state, self.training)
        if self.training and not repeated:
            self._seen = {name: value.detach() for name, value in state.items()}
            self._store(updates)
        probe = None
        if self.training and self.method.needs_gradient and x is not None and torch.is_grad_enabled():
            self.held[WEIGHTS] = x
            probe = self.held[PROBE]
        rows = rows_of(self.plain, grids, probe)
        if not (self.measuring and self.training and torch.is_grad_enabled()):
            return rows
        return [row._replace(energy=part) for row, part in zip(rows, self.held[ENERGY].split(1), strict=True)]

    def put(self, index: int, x: Tensor, row: Row) -> Tensor:
        """A tensor of the group at ``index`` on its grid."""
        return put_on(self.method, index, x, row, lambda: self.bank)

    def flat(self, weights: Sequence[Tensor]) -> Tensor:
        """The weights of all groups as [elements]."""
        parts = [self.plain.layout.flat(TORCH, index, w.float()) for index, w in enumerate(weights)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def advance(self, progress: Progress) -> None:
        """Set what the schedule prescribes, and draw the noise of the next step (seed, group and step decide it)."""
        for name, value in self.method.controls(self.plain, progress).items():
            if hasattr(self, STATE + name):
                getattr(self, STATE + name).fill_(float(value))
            else:
                self._take(STATE + name, np.float32(value))
        self._draw(progress.step)
        self._measure(is_measured(self.method, progress) and len(self.plain.bits) > 1)

    def after_backward(self) -> None:
        """Let the method look at the gradients that have arrived since the last call."""
        probe = self.held.get(PROBE)
        if probe is None or probe.grad is None:
            return
        with torch.no_grad():
            x, gradient, parameters = self.held.pop(WEIGHTS), probe.grad, self.parameters_now()
            updates = self.method.after_backward(TORCH, self.bank, x, gradient, parameters, self._state_now(False))
            self._store(updates)
        probe.grad = None

    def after_step(self) -> None:
        """What the method does after the optimizer's step."""
        if self.fixed is not None:
            return
        self.after_backward()
        energy = self.held[ENERGY].grad if self.measuring else None
        with torch.no_grad():
            if energy is not None:
                self.energies += torch.cat([energy, torch.ones_like(energy[:1])])
                self.held[ENERGY].grad = None
            now = self.parameters_now()
            previous = {name: self._previous(name) for name in now}
            changed, updates = self.method.after_step(TORCH, self.bank, now, previous, self._state_now(False))
            for name, value in changed.items():
                now[name].copy_(value)
            for name, value in now.items():
                previous[name].copy_(value)
            self._store(updates)

    def remember_parameters(self) -> None:
        """Take the parameters as they are for those before the next optimizer step."""
        for name, value in self.parameters_now().items():
            self._previous(name).copy_(value.detach())

    def expected_bits(self) -> Tensor:
        """Bits of the moment, with gradient, [groups]."""
        if self.fixed is not None:
            return torch.tensor([float(grid.bits) for grid in self.fixed], device=self.held["most_bits"].device)
        bits: Tensor = self.method.expected_bits(TORCH, self.bank, self.parameters_now(), self._state_now())
        return bits

    def regularization(self, weights: Sequence[Tensor]) -> Tensor | None:
        """The loss term of a bank of weights, by the state that the last forward pass began with.

        weights: with gradient.
        """
        if self.fixed is not None or self.plain.kind != "weight":
            return None
        x = self.flat(weights) if self.method.regularizes_weights(self.plain) else None
        state = self._seen or self._state_now()
        return self.method.regularization(TORCH, self.bank, x, self.parameters_now(), state)

    def parameters_now(self) -> Named:
        """The learned parameters by the method's names."""
        return {name.removeprefix(LEARNED): value for name, value in self._parameters.items() if value is not None}

    def controls_now(self) -> Named:
        """The state, controls included, by the method's names."""
        held = ((name, value) for name, value in self._buffers.items() if name.startswith(STATE))
        return {name.removeprefix(STATE): value for name, value in held if value is not None}

    def measured(self) -> dict[str, float]:
        """Squared gradients at each group's tensor, by slot, averaged over the steps in which they were measured."""
        *sums, steps = self.energies.tolist()
        return mean_energies({s.name: (total, steps) for s, total in zip(self.plain.slots, sums, strict=True)})

    def numbers(self) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Parameters and state of every group as NumPy arrays, each in its own shape."""
        parameters, state = (
            {k: v.detach().cpu().double().numpy() for k, v in part.items()}
            for part in (self.parameters_now(), self.controls_now())
        )
        return [
            (parted(self.method, self.plain, parameters, index), parted(self.method, self.plain, state, index))
            for index in range(len(self.plain.slots))
        ]

    def harden(
        self, bits: Sequence[int | None] | None = None, weights: Sequence[np.ndarray | None] | None = None
    ) -> tuple[Grid, ...]:
        """The grids of the moment; the arguments are those of ``hardened_grids``, which raises NonFiniteValues."""
        if self.fixed is not None:
            return self.fixed
        if not self.started:
            first = self.plain.slots[0].name
            raise MPQError(f"site {first!r} has no grid before any batch; run one through the model first")
        return hardened_grids(self.method, self.plain.slots, self.numbers(), bits, weights)

    def settle(self, grids: Sequence[Grid]) -> None:
        """Let the method's choice be these grids."""
        if self.fixed is not None or len(self.plain.bits) == 1:
            return
        found = [
            self.method.settled(slot, *numbers, grid)
            for slot, numbers, grid in zip(self.plain.slots, self.numbers(), grids, strict=True)
        ]
        with torch.no_grad():
            for name, values in _named(joined_start(self.method, self.plain, found)).items():
                own = getattr(self, name)
                own.copy_(torch.as_tensor(values, dtype=own.dtype))
            self.remember_parameters()
        self._seen = {}

    def freeze(self, grids: Sequence[Grid]) -> None:
        """Fix the grids; what was learned stays where it is, and no gradient reaches it any more."""
        self.fixed, self._seen = tuple(grids), {}
        self._measure(False)
        device = self.held["most_bits"].device
        self.held.pop(PROBE, None)
        for index, grid in enumerate(grids):
            if len(grid.steps) > 1:
                self.hold(f"steps {index}", torch.tensor(grid.steps, dtype=torch.float32, device=device))
        for parameter in self.parameters():
            parameter.grad = None

    def get_extra_state(self) -> Tensor:
        """Method, groups, step of the noise and fixed grids, as the bytes of a JSON text."""
        grids = None if self.fixed is None else [asdict(grid) for grid in self.fixed]
        return bank_state.written(
            checkpoint.described(self.method, self.plain) | {"grids": grids, "drawn_step": self.drawn_step}
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Take over fixed grids, or go back to learning."""
        read = bank_state.read(state)
        if self.fixed is not None:
            self.fixed = None
            self._probe()
        if read["grids"] is not None:
            self.freeze([Grid(**grid) for grid in read["grids"]])
        self._seen = {}
        self._draw(read["drawn_step"])

    def extra_repr(self) -> str:
        names = ", ".join(slot.name for slot in self.plain.slots[:3])
        return f"{self.method.name}, {len(self.plain.slots)} {self.plain.kind}s ({names}, ...), bits {self.plain.bits}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        extra = state_dict.get(f"{prefix}_extra_state")
        if extra is not None:
            checkpoint.check_same(bank_state.read(extra), self.method, self.plain)
        state_dict.setdefault(prefix + ENERGIES, torch.zeros_like(self.energies))  # older checkpoints have none
        for key, value in state_dict.items():
            # a module that has not started takes the checkpoint's shapes
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name.startswith((LEARNED, STATE)) and not hasattr(self, name):
                self._take(name, value.detach().cpu().numpy())
        super()._load_from_state_dict(state_dict, prefix, *rest)
        with torch.no_grad():
            self.remember_parameters()

    def _probe(self) -> None:
        """Hold what gets the gradients of the quantized weights, where the method wants to see them."""
        if self.method.needs_gradient and self.method.follows_weights(self.plain):
            elements = self.plain.layout.total("element")
            self.hold(PROBE, torch.zeros(elements, device=self.held["most_bits"].device).requires_grad_())

    def _measure(self, on: bool) -> None:
        """Ask for the energies of the next step, or no longer."""
        if on == self.measuring:
            return
        self.measuring = on
        self.held.pop(ENERGY, None)
        if on:
            self.hold(ENERGY, torch.zeros(len(self.plain.slots), device=self.energies.device).requires_grad_())

    def _draw(self, step: int) -> None:
        self.drawn_step = step
        if COUNTERS in self.held:
            draws = noise.draws(TORCH, self.held[COUNTERS], noise.step_key(step))
            self.held[NOISE].copy_(draws)

    def _previous(self, name: str) -> Tensor:
        key = PREVIOUS + name
        if key not in self.held:
            self.held[key] = getattr(self, LEARNED + name).detach().clone()
        return self.held[key]

    def _state_now(self, copied: bool = True) -> Named:
        """State and constants. copied: autograd keeps them, and updates overwrite the buffers before backward."""
        constants = {name: self.held[name] for name in self._known}
        if NOISE in self.held:
            constants[NOISE] = self.held[NOISE].clone() if copied else self.held[NOISE]
        return constants | {k: v.clone() if copied else v for k, v in self.controls_now().items()}

    def _take(self, name: str, values: Any) -> None:
        device = self.held["most_bits"].device
        tensor = torch.from_numpy(np.array(values, dtype=np.float32)).to(device)
        if name.startswith(LEARNED):
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    def _store(self, updates: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in updates.items():
                getattr(self, STATE + name).copy_(value)


def _named(start: Start) -> dict[str, Any]:
    """Parameters and state by the names that a bank has them under."""
    learned = {LEARNED + name: values for name, values in start.parameters.items()}
    return learned | {STATE + name: values for name, values in start.state.items()}
