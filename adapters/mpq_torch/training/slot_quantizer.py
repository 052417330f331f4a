"""SlotQuantizer: one training method at one site, as a torch module."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.training.hardened_grid import hardened_grid
from mpq_plugins.training.method import NOISE, Progress, TrainingMethod
from mpq_plugins.training.slot import Observed, Slot
from mpq_torch.ops import TORCH

LEARNED = "learned_"
STATE = "state_"


class SlotQuantizer(nn.Module):
    """Holds what a method keeps for a slot, and puts tensors onto its grid of the moment.

    ``start`` gives it its parameters (named learned_*, trained by the optimizer) and its state (buffers
    named state_*). In train() a tensor is quantized as the method trains it, in eval() exactly onto
    ``harden()``. ``freeze`` fixes the grid: from then on nothing is learned, and training goes on at it.

    A state_dict taken at any moment can be loaded at any moment, by a module of the same slot and
    method; MPQError names both methods where they differ.
    """

    def __init__(self, method: TrainingMethod, slot: Slot, observed: Observed | None = None, seed: int = 0) -> None:
        super().__init__()
        self.method, self.slot, self.seed = method, slot, int(seed)
        self.grid: Grid | None = None
        self.regularization: Tensor | None = None
        self._clipping: tuple[Tensor, int, int] | None = None
        if observed is not None:
            self.start(observed)

    @property
    def started(self) -> bool:
        """Whether there is anything to quantize with."""
        return self.grid is not None or any(True for _ in self._held())

    def start(self, observed: Observed) -> None:
        """Begin from a weight (an array) or from an activation's Histogram."""
        begin = self.method.start(self.slot, observed)
        for name, values in begin.parameters.items():
            self._hold(LEARNED + name, values)
        for name, values in begin.state.items():
            self._hold(STATE + name, values)
        shape = self.method.noise_shape(self.slot)
        if shape is not None:
            self._hold(STATE + NOISE, np.full(shape, 0.5))
        self.advance(Progress(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is not None:
            return TORCH.fake_quantize(x, *self._fixed(x))
        # copies of the state: autograd keeps them for backward, and updates overwrite the buffers before it
        parameters, state = self.parameters_now(), {name: value.clone() for name, value in self.state_now().items()}
        y, updates = self.method.quantize(TORCH, self.slot, x, parameters, state, self.training)
        if self.training:
            self._store(updates)
            if self.slot.kind == "weight":
                self.regularization = self.method.regularization(TORCH, self.slot, x, parameters, state)
            if self.method.needs_gradient and y.requires_grad:
                seen = x.detach()
                y.register_hook(lambda gradient: self._follow(seen, gradient))
        return y

    def advance(self, progress: Progress) -> None:
        """Set what the schedule prescribes, and draw the noise of the next step (seed, site and step decide it)."""
        for name, value in self.method.controls(self.slot, progress).items():
            if hasattr(self, STATE + name):
                getattr(self, STATE + name).fill_(float(value))
            else:
                self._hold(STATE + name, value)
        noise = getattr(self, STATE + NOISE, None)
        if noise is not None:
            draws = np.random.default_rng([self.seed, zlib.crc32(self.slot.name.encode()), progress.step])
            noise.copy_(torch.from_numpy(np.asarray(draws.random(tuple(noise.shape)), dtype=np.float32)))

    def after_step(self, previous: Mapping[str, Tensor]) -> None:
        """What the method does after the optimizer's step; previous: the parameters before it."""
        if self.grid is not None:
            return
        with torch.no_grad():
            now, state = self.parameters_now(), self.state_now()
            changed, updates = self.method.after_step(TORCH, self.slot, now, previous, state)
            for name, value in changed.items():
                now[name].copy_(value)
            self._store(updates)

    def expected_bits(self) -> Tensor:
        """Bits of the moment, with gradient: a scalar, or [channels]."""
        if self.grid is not None:
            return torch.tensor(float(self.grid.bits))
        return self.method.expected_bits(TORCH, self.slot, self.parameters_now(), self.state_now())

    def parameters_now(self) -> dict[str, Tensor]:
        """The learned parameters by the method's names."""
        return {name.removeprefix(LEARNED): value for name, value in self._parameters.items() if value is not None}

    def state_now(self) -> dict[str, Tensor]:
        """The state, controls and noise included, by the method's names."""
        return {name.removeprefix(STATE): value for name, value in self._buffers.items() if value is not None}

    def numbers(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Parameters and state as NumPy arrays."""
        parts = self.parameters_now(), self.state_now()
        return tuple({k: v.detach().cpu().double().numpy() for k, v in part.items()} for part in parts)  # type: ignore[return-value]

    def harden(self, bits: int | None = None, weight: np.ndarray | None = None) -> Grid:
        """The grid of the moment; bits: those that the budget leaves it, weight: as it is now (hardened_grid).

        Raises NonFiniteValues where a learned parameter is, naming the site.
        """
        if self.grid is not None:
            return self.grid
        if not self.started:
            raise MPQError(f"site {self.slot.name!r} has no grid before any batch; run one through the model first")
        parameters, state = self.numbers()
        for name, value in parameters.items():
            if not np.all(np.isfinite(value)):
                raise NonFiniteValues(f"site {self.slot.name!r}: the learned {name} is {value.tolist()}")
        if bits is None:
            return self.method.harden(self.slot, parameters, state)
        return hardened_grid(self.method, self.slot, parameters, state, bits, weight)

    def freeze(self, grid: Grid) -> None:
        """Fix the grid; what was learned stays where it is and gets no gradient any more."""
        self.grid, self.regularization, self._clipping = grid, None, None
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def __getstate__(self) -> dict[str, Any]:
        # a loss term of the last forward belongs to its autograd graph, and to no copy
        return {**self.__dict__, "regularization": None}

    def get_extra_state(self) -> Tensor:
        """Method, slot and fixed grid, as the bytes of a JSON text."""
        described = self._described() | {"grid": None if self.grid is None else asdict(self.grid)}
        return torch.frombuffer(bytearray(json.dumps(described).encode()), dtype=torch.uint8).clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Take over a fixed grid, or go back to learning."""
        grid = json.loads(bytes(state.to("cpu", torch.uint8).tolist()))["grid"]
        self._clipping = None
        self.grid = None
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        if grid is not None:
            self.freeze(Grid(**grid))

    def extra_repr(self) -> str:
        return f"{self.slot.name}, {self.method.name}, {self.grid or f'bits {self.slot.bits}'}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        extra = state_dict.get(f"{prefix}_extra_state")
        if extra is not None:
            read = json.loads(bytes(extra.to("cpu", torch.uint8).tolist()))
            mine = self._described()
            if read["method"] != mine["method"]:
                raise MPQError(
                    f"site {self.slot.name!r}: the checkpoint is of method {read['method']!r}, and this model trains "
                    f"with {mine['method']!r}; build the search with the checkpoint's method"
                )
            if read["bits"] != mine["bits"]:
                raise MPQError(
                    f"site {self.slot.name!r}: the checkpoint has candidates {read['bits']}, and this model "
                    f"{mine['bits']}; build the search with the same candidates"
                )
        for key, value in state_dict.items():
            # a module that has not started takes the checkpoint's shapes
            name = key.removeprefix(prefix)
            if key.startswith(prefix) and name.startswith((LEARNED, STATE)) and not hasattr(self, name):
                self._hold(name, value.detach().cpu().numpy())
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _described(self) -> dict[str, Any]:
        slot = self.slot
        return {
            "method": self.method.name,
            "bits": list(slot.bits),
            "shape": list(slot.shape),
            "signed": slot.signed,
        }

    def _held(self) -> Any:
        yield from self._parameters.values()
        yield from self._buffers.values()

    def _hold(self, name: str, values: Any) -> None:
        tensor = torch.from_numpy(np.array(values, dtype=np.float32))
        if name.startswith(LEARNED):
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    def _store(self, updates: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in updates.items():
                getattr(self, STATE + name).copy_(value)

    def _follow(self, x: Tensor, gradient: Tensor) -> None:
        with torch.no_grad():
            updates = self.method.after_backward(TORCH, self.slot, x, gradient, self.parameters_now(), self.state_now())
            self._store(updates)

    def _fixed(self, x: Tensor) -> tuple[Any, int, int]:
        """Step (shaped for x), smallest and largest code of the fixed grid."""
        assert self.grid is not None
        if self._clipping is None or self._clipping[0].device != x.device:
            steps = torch.tensor(self.grid.steps, dtype=torch.float32, device=x.device)
            self._clipping = (
                self.slot.spread(TORCH, steps) if len(steps) > 1 else steps[0],
                self.grid.low,
                self.grid.high,
            )
        return self._clipping
