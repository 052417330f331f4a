"""What every adapter's ``synthetic_inputs`` refuses."""

from __future__ import annotations

from mpq_plugins.errors import ModelError


def check_asked(samples: int, steps: int, source: str) -> None:
    """Raise ModelError for a number of samples or steps that is none, and for another source than there are."""
    if samples < 1 or steps < 1:
        raise ModelError(f"synthetic inputs need 1 sample and 1 step or more, got {samples} and {steps}")
    if source not in ("batch_norm", "noise"):
        raise ModelError(f"the source of synthetic inputs is batch_norm or noise, got {source!r}")


def without_norms(where: str = "") -> ModelError:
    """Of a model without batch norms. where: they are looked for, in words."""
    return ModelError(
        f"the model has no batch norm{where} whose statistics could guide synthetic inputs (they may be folded "
        'already); give calibration data, the model from before folding, or source="noise"'
    )
