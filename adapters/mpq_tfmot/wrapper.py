"""TF-MOT's wrapper of a quantized layer, which the .keras format can load again."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from mpq_plugins.errors import MPQError

PREFIX = "quant_"


class QuantizeGridWrapper(QuantizeWrapperV2):  # type: ignore[misc]
    """QuantizeWrapperV2 whose variables are saved by name.

    TF-MOT 0.8 counts the variables of a wrapper differently before and after its layer is built, so the
    .keras format refuses to load what it saved.
    """

    @property
    def trainable_weights(self) -> list[Any]:
        """TF-MOT's, without the weight of a layer that its user froze: only its grid is trained."""
        frozen = self._frozen()
        return [variable for variable in super().trainable_weights if id(variable) not in frozen]

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The others."""
        known = {id(variable) for variable in super().non_trainable_weights}
        frozen = [v for key, v in self._frozen().items() if key not in known]
        return [*super().non_trainable_weights, *frozen]

    def _frozen(self) -> dict[int, Any]:
        if self.layer.trainable:
            return {}
        return {id(weight): weight for weight, _, _ in getattr(self, "_weight_vars", ())}

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Store every variable of wrapper and layer under its own name."""
        for variable in self.weights:
            store[_short(variable)] = variable.numpy()

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Assign what ``save_own_variables`` stored. Raises MPQError where it is of another method or another phase."""
        missing = sorted({_short(variable) for variable in self.weights} - set(store.keys()))
        if missing:
            raise MPQError(
                f"layer {self.name!r}: the checkpoint has no {', '.join(missing[:3])}; it is of a model with another "
                "method, or with fixed grids (build the model as the checkpoint's was, and harden it if that was)"
            )
        for variable in self.weights:
            value = store[_short(variable)]
            if tuple(value.shape) != tuple(variable.shape):
                raise MPQError(
                    f"layer {self.name!r}: {_short(variable)} has the shape {tuple(value.shape)} in the checkpoint and "
                    f"{tuple(variable.shape)} here; it is of another model, or of a version before banks of grids, "
                    "whose searches cannot go on (harden it with that version, and start from the recipe)"
                )
            variable.assign(value)


def _short(variable: Any) -> str:
    return str(variable.name).split(":")[0].split("/")[-1]
