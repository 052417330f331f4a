"""The one TF-MOT Quantizer of this package: a grid, given by a recipe or trained by a method."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow.python.saved_model import save_context  # there is no public name for it
from tf_keras.src.mixed_precision.autocast_variable import AutoCastVariable

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.output_rounding import OutputRounding
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.alone import joined_start
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, Start, TrainingMethod, on_grids
from mpq_plugins.training.predicting import MEASURED_STEPS
from mpq_plugins.training.slot import Slot
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.training.emission import emit_activation, emit_weight
from mpq_tfmot.training.fixed_grid import looked_up, on_fixed_grid
from mpq_tfmot.training.method_config import Described, describe, method_of
from mpq_tfmot.training.observation import observe, placeholder, sample_shape
from mpq_tfmot.training.tensor_bank import MOVE, PARAMETER, STATE, TensorBank

Base: Any = tfmot.quantization.keras.quantizers.Quantizer
Variables = dict[str, Any]

OBSERVING, TRAINING, FROZEN = "observing", "training", "frozen"
PHASES = (OBSERVING, TRAINING, FROZEN)
"""Looking at an activation before its method starts; training the grid; a grid that stays."""
ENERGY = "energy"
"""A variable: the running mean of the squared gradients at the tensor, added up over its elements."""
ENERGY_DECAY = 1.0 - 1.0 / MEASURED_STEPS
INPUT_AXES = {"Conv1D": 1, "Conv2D": 2, "Dense": 0, "Conv2DTranspose": 3}
"""The axis of the input channels of a kernel; a depthwise one has none."""


class GridQuantizer(Base):  # type: ignore[misc]
    """Puts a tensor on a grid: a fixed one, or that at which a training method stands.

    bits: of the grid, or the candidates that the method chooses from. signed, narrow: of the codes.
    axis: of the channels; None for one step per tensor. weight: whether the tensor is a weight.
    steps: of a fixed grid. method: trains the grid where there are no steps; its name, or a value.
    phase: one of PHASES; by default FROZEN with steps, TRAINING for a weight, OBSERVING for an activation.
    seed: of the method's noise. rounding: what a runtime makes of an activation of power-of-two steps on a fixed grid;
    None where that is unknown, or where steps are free.

    Variables: ``steps`` ([] or [channels]), ``low`` and ``high`` of the grid of the phases OBSERVING and
    FROZEN; with a method also its parameters and what the optimizer has moved them by since the search last
    looked (so that no change is too small to be seen beside them), its state, ``phase``, ``clock`` (steps of
    the search), ``finite`` (whether the last training batch was), and what has been seen of an activation.
    A frozen grid rounds as ``rounding`` says, so that the model evaluates to the runtime's numbers. In a SavedModel,
    and so for LiteRT's own converter, it is made of the FakeQuant ops that this knows, which round ties up.
    """

    aggregation: ClassVar[Any] = tf.VariableAggregation.ONLY_FIRST_REPLICA

    def __init__(
        self,
        bits: int | Sequence[int] = 8,
        signed: bool = True,
        axis: int | None = None,
        steps: Any = None,
        weight: bool = False,
        method: Described | TrainingMethod | None = None,
        narrow: bool = False,
        phase: str | None = None,
        seed: int = 0,
        rounding: OutputRounding | dict[str, Any] | None = None,
    ) -> None:
        self.bits = (bits,) if isinstance(bits, int) else tuple(int(b) for b in bits)
        self.signed, self.axis, self.weight, self.narrow = bool(signed), axis, bool(weight), bool(narrow)
        self.steps = None if steps is None else [float(step) for step in np.ravel(steps)]
        self.method = None if method is None else method_of(method)
        self.seed = int(seed)
        self.rounding = OutputRounding.from_dict(rounding) if isinstance(rounding, dict) else rounding
        self.phase = phase or (FROZEN if steps is not None else TRAINING if weight else OBSERVING)
        if self.steps is None and self.method is None:
            raise ModelError("a quantizer needs the steps of a grid, or a method that trains them")

    @classmethod
    def of(cls, grid: Grid, weight: bool = False, rounding: OutputRounding | None = None) -> GridQuantizer:
        """The quantizer onto a grid of a recipe."""
        return cls(grid.bits, grid.signed, grid.axis, grid.steps, weight, narrow=grid.narrow, rounding=rounding)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Variables:
        """Create the variables, as TF-MOT asks."""
        shape = () if tensor_shape is None else tuple(tensor_shape if self.weight else tensor_shape[1:])
        kernel = getattr(layer.layer, name, None) if self.weight else None
        site = layer.layer.name
        if self.weight:
            site = f"{site}.weight" if "kernel" in name else f"{site}.{name}"
        self.slot = self._slot(site, shape, type(layer.layer).__name__)
        # the layer's own come first, whether or not it was built before it was wrapped: .h5 files go by the order
        held = {id(variable) for variable in layer._trainable_weights}
        layer._trainable_weights.extend(v for v in layer.layer.trainable_weights if id(v) not in held)
        first = Grid(
            self.bits[-1], tuple(self.steps or [1.0] * (self.slot.channels or 1)), self.signed, self.narrow, self.axis
        )

        def add(key: str, value: Any, trainable: bool = False, aggregation: Any = self.aggregation) -> Any:
            value = np.asarray(value, np.float32)
            return layer.add_weight(
                name=f"{name}_{key}",
                shape=value.shape,
                initializer=keras.initializers.Constant(value),
                trainable=trainable,
                aggregation=aggregation,
                experimental_autocast=False,  # a step in half precision is another step
            )

        made = {
            "steps": add("steps", np.reshape(first.steps, self.slot.step_shape)),
            "low": add("low", first.low),
            "high": add("high", first.high),
        }
        if self.method is None:
            return made
        start = self.start(placeholder(self.signed) if kernel is None else np.asarray(kernel))
        made |= {
            "phase": add("phase", PHASES.index(self.phase)),
            "clock": add("clock", 0.0),
            "method": add("method", method_number(self.method)),
            "finite": add("finite", 1.0, aggregation=tf.VariableAggregation.MEAN),
        }
        if not self.weight:
            made |= {"seen": add("seen", 0.0), "sample": add("sample", np.zeros(sample_shape()))}
        mean = tf.VariableAggregation.MEAN
        if self.method.searches_bits:
            made |= {ENERGY: add(ENERGY, 0.0, False, mean)}
        for key, value in start.parameters.items():
            made[PARAMETER + key] = add(PARAMETER + key, value, False, mean)
            made[MOVE + key] = add(MOVE + key, np.zeros_like(value), True, mean)
        made |= {STATE + k: add(STATE + k, v, False, mean) for k, v in start.state.items()}
        return made

    @property
    def bank(self) -> Bank:
        """The bank of this quantizer's group alone, over NumPy."""
        return Bank.of([self.slot])

    def start(self, observed: Any, progress: Progress | None = None) -> Start:
        """Where the method starts on what was observed, as rows of a bank of one, controls among the state."""
        assert self.method is not None
        start = joined_start(self.method, self.bank, [self.method.start(self.slot, observed)])
        controls = self.method.controls(self.bank, progress or Progress(0, 1, 1))
        return replace(start, state={**start.state, **{name: np.asarray(v) for name, v in controls.items()}})

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any, training: Any, weights: Variables, read: Any = None, **kwargs: Any) -> Any:
        """The tensor on its grid. read: what the layer computed it from."""
        kept = inputs.dtype
        # under a mixed-precision policy the weight itself is quantized, not what is left of it in half precision
        x = tf.convert_to_tensor(inputs._variable if isinstance(inputs, AutoCastVariable) else inputs)
        if _is_for_shapes():
            return tf.cast(x, kept)
        if training:
            return tf.cast(self._in_training(x, weights), kept)
        wide = tf.cast(x, tf.float32)
        if self.phase == TRAINING:
            assert self.method is not None
            host = TensorBank(self.method, [self.slot], self.seed)
            grids, _ = self.method.grids(OPS, host.bank, None, *host.arrays([weights]), False)
            return tf.cast(on_grids(OPS, self.method, host.bank, 0, grids, wide), kept)
        grid = (weights["steps"], weights["low"], weights["high"])
        if not save_context.in_save_context():
            if self.rounding is not None and self.rounding.table and tf.is_tensor(read):
                return tf.cast(looked_up(read, tf.convert_to_tensor(weights["steps"]), self.rounding), kept)
            return tf.cast(self._as_it_is(wide, weights), kept)
        if self.weight:
            return tf.cast(emit_weight(wide, *grid, self.axis), kept)
        return tf.cast(emit_activation(wide, *grid, self.signed, self.bits[0] < 8), kept)

    def grid(self, variables: Variables) -> Grid:
        """The grid of the phases OBSERVING and FROZEN as the variables have it now."""
        bits = round(np.log2(float(variables["high"].numpy()) + 1)) + self.signed
        return Grid(bits, tuple(np.ravel(variables["steps"].numpy())), self.signed, self.narrow, self.axis)

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor takes."""
        return {
            "bits": list(self.bits),
            "signed": self.signed,
            "axis": self.axis,
            "steps": self.steps,
            "weight": self.weight,
            "method": None if self.method is None else describe(self.method),
            "narrow": self.narrow,
            "phase": self.phase,
            "seed": self.seed,
            "rounding": None if self.rounding is None else asdict(self.rounding),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GridQuantizer) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def slot_like(self, slot: Slot) -> Slot:
        """The slot of the same tensor, with this quantizer's grid."""
        kinds = tuple(Candidate(b, self.signed, self.axis is not None, self.narrow) for b in self.bits)
        return replace(slot, candidates=kinds, axis=self.axis)

    def _slot(self, name: str, shape: tuple[int, ...], layer: str) -> Slot:
        kinds = tuple(Candidate(b, self.signed, self.axis is not None, self.narrow) for b in self.bits)
        kind: Literal["weight", "activation"] = "weight" if self.weight else "activation"
        return Slot(name, kind, shape, kinds, self.axis, INPUT_AXES.get(layer) if self.weight else None)

    def _in_training(self, x: Any, variables: Variables) -> Any:
        wide = tf.cast(x, tf.float32)
        if self.method is not None:
            variables["finite"].assign(tf.cast(_all_finite(wide), tf.float32))
        if self.phase == OBSERVING:
            observe(wide, variables, self.slot)
        if self.phase == TRAINING:
            return tf.cast(self._by_method(wide, variables), x.dtype)
        return tf.cast(self._as_it_is(wide, variables), x.dtype)

    def _as_it_is(self, x: Any, variables: Variables) -> Any:
        """On the grid of the phases OBSERVING and FROZEN."""
        step, low, high = (tf.stop_gradient(tf.convert_to_tensor(variables[key])) for key in ("steps", "low", "high"))
        if self.rounding is None or self.narrow:
            return OPS.fake_quantize(x, self.slot.spread(OPS, step), low, high)
        return on_fixed_grid(x, step, low, high, self.bits[0], self.signed, self.rounding)

    def _by_method(self, x: Any, variables: Variables) -> Any:
        assert self.method is not None
        method, host = self.method, TensorBank(self.method, [self.slot], self.seed)
        bank, seen = host.bank, tf.stop_gradient(x)
        parameters, state = host.arrays([variables])
        follows = method.follows_weights(bank)
        weights = bank.layout.flat(OPS, 0, seen) if follows else None
        grids, updates = method.grids(OPS, bank, weights, parameters, state, True)
        host.assign([variables], updates)
        y = on_grids(OPS, method, bank, 0, grids, x)
        if ENERGY in variables:
            y = _watched(y, variables[ENERGY])
        if not (method.needs_gradient and follows):
            return y
        kept = {k: tf.stop_gradient(v) for k, v in parameters.items()}
        state = {k: tf.stop_gradient(v) for k, v in (state | dict(updates)).items()}

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def watched(y: Any) -> tuple[Any, Any]:
            def backward(gradient: Any) -> Any:
                flat = bank.layout.flat(OPS, 0, gradient)
                host.assign([variables], method.after_backward(OPS, bank, weights, flat, kept, state))
                return gradient

            return tf.identity(y), backward

        return watched(y)


def _is_for_shapes() -> bool:
    """Whether Keras calls a layer for the shape and the type of its output alone, in a graph that it throws away.

    A branch of it is thrown away too; a function that is traced meanwhile is kept.
    """
    graph: Any = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while type(graph).__name__ == "CondBranchFuncGraph":
        graph = graph.outer_graph
    return str(getattr(graph, "name", "")).endswith("_scratch_graph")


def _watched(y: Any, energy: Any) -> Any:
    """y itself; the sum of the squared gradients that arrive moves the running mean in ``energy``."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def watched(y: Any) -> tuple[Any, Any]:
        def backward(gradient: Any) -> Any:
            total = 2.0 * tf.nn.l2_loss(tf.cast(gradient, tf.float32))  # one pass
            energy.assign(tf.convert_to_tensor(energy) * ENERGY_DECAY + (1.0 - ENERGY_DECAY) * total)
            return gradient

        return tf.identity(y), backward

    return watched(y)


def _all_finite(x: Any) -> Any:
    """Whether all of x is finite: surely so where the sum is, which is a single pass; else it is looked at again."""
    total = tf.math.is_finite(tf.reduce_sum(x))
    return tf.cond(total, lambda: True, lambda: tf.reduce_all(tf.math.is_finite(x)))


def method_number(method: TrainingMethod) -> int:
    """What marks a method's variables in a checkpoint: a number that float32 holds exactly."""
    return zlib.crc32(method.name.encode()) % 2**24
