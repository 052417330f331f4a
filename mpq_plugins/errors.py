"""What bad input gets: subclasses of MPQError whose message names the site, the numbers and the way out.

Those about a value that a caller gave are ValueErrors too, for code that knows Python's errors alone.
"""


class MPQError(Exception):
    """Base of every error that mpq-plugins raises on purpose."""


class GridError(MPQError, ValueError):
    """Grid fields that contradict each other, or values that a grid cannot take."""


class NonFiniteValues(MPQError, ValueError):
    """A weight or an activation holds NaN or infinity."""


class EmptyCalibration(MPQError, ValueError):
    """A search was given no calibration data."""


class CalibrationTooLarge(MPQError):
    """The calibration set is larger than the machine can hold, or has no end."""


class TooLittleMemory(MPQError, MemoryError):
    """The machine has less memory, or room for temporary files, than the work takes; the message holds both numbers."""


class InfeasibleBudget(MPQError, ValueError):
    """No choice of candidates meets the budget; the message holds the smallest reachable values.

    ``reachable`` maps every limited resource to the smallest value that any choice reaches.
    """

    def __init__(self, message: str, reachable: "dict[str, float] | None" = None) -> None:
        super().__init__(message)
        self.reachable = dict(reachable or {})


class CalibrationWarning(UserWarning):
    """Calibration samples that were left out, and why."""


class AccuracyWarning(UserWarning):
    """Outputs of a model on its grids that have next to nothing of the float model's."""


class BudgetWarning(UserWarning):
    """A budget that a search will not have learned to keep by the time its choices become final."""


class BudgetError(MPQError, ValueError):
    """A budget that is no budget: no field set, or a limit that is not a positive number."""


class TargetError(MPQError, ValueError):
    """A target is malformed or unknown."""


class ProcessorLimit(TargetError):
    """Kernels saturate at these grids on this processor; one with better instructions adds their products exactly."""


class UnsupportedOp(MPQError):
    """The target has no grid for an op of the model, or nothing computes it in integers.

    ``names`` are those of the ops, where they are known; ``reasons`` says why of each, where that is known.
    """

    def __init__(
        self, message: str, names: "list[str] | tuple[str, ...]" = (), reasons: "dict[str, str] | None" = None
    ) -> None:
        super().__init__(message)
        self.names = tuple(names)
        self.reasons = dict(reasons or {})


class ModelError(MPQError):
    """The model cannot be read: not traceable, no quantizable op, or of the wrong kind."""


class UnmatchedName(ModelError, ValueError):
    """A name or pattern that was given matches nothing in the model."""


class RecipeError(MPQError, ValueError):
    """A recipe file is damaged or newer than this version reads."""


class RecipeMismatch(RecipeError):
    """A recipe does not fit the model; missing, extra and mis-shaped sites are named."""


class NothingQuantized(MPQError):
    """A model came out of conversion without one quantized op."""


class VerificationError(MPQError):
    """The converted model and its simulation give different numbers."""


class PluginError(MPQError):
    """A plug-in failed to import, or registered something that is none of ours."""


class CostError(MPQError, ValueError):
    """A cost model or a latency table that has no answer, or one that is no cost."""


class AllocationError(MPQError, ValueError):
    """Candidates, losses and sites that do not fit together."""


class ThresholdError(MPQError, ValueError):
    """A threshold search was asked for something that it cannot compute."""


class LoadingError(MPQError):
    """A model or data that a command was given cannot be loaded, or are of the wrong kind."""


class ProgramError(MPQError):
    """An integer program is damaged or newer, cannot be written, or was given what it cannot run on."""


class OutputError(MPQError):
    """A result cannot be written where it should go."""


def sentence(error: BaseException) -> str:
    """An exception in one line: its type and its message.

    >>> sentence(ValueError("too\\n  long"))
    'ValueError: too long'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
