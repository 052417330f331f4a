"""Models and calibration data that a command is given: ``package.module:factory``, or a file.

Framework-free: files of models, and what a framework makes of arrays, are its adapter's business
(``commands()`` of what mpq_register_frameworks registers; registry/adapter.py says what it holds).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins import registry
from mpq_plugins.errors import LoadingError, MPQError, sentence
from mpq_plugins.registry.adapter import Framework, OffersCommands, OwnsModels, ReadsFiles, WantsEnvironment
from mpq_plugins.stored.arrays import read_arrays
from mpq_plugins.terminal.silence import silenced

ARRAY_SUFFIXES = (".npy", ".npz")
EXAMPLE = "package.module:factory"


@dataclass(frozen=True)
class LoadedModel:
    """A user's model: the value, the name of its framework, and what its adapter does for commands."""

    model: Any
    framework: str
    adapter: Framework
    commands: ModuleType


def load_model(reference: str, framework: str | None = None) -> LoadedModel:
    """The model behind ``--model``: a factory without arguments, a module attribute, or a model file.

    reference: ``package.module:factory`` (the current directory counts), ``file.py:factory``, or a file
        with a suffix that an adapter reads (.keras, .h5, .pt2).
    framework: name of the adapter; None finds it from the file's suffix or from the model itself.
    Raises LoadingError in one sentence, and PluginError where the framework is unknown or not installed.
    """
    adapters = registry.host().frameworks()
    if framework is not None:
        registry.host().framework(framework)
    prepare_environment(adapters)
    readers = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, ReadsFiles)}
    by_suffix = {suffix: name for name, adapter in readers.items() for suffix in adapter.model_suffixes}
    suffix = Path(reference).suffix
    if ":" not in reference.removeprefix(Path(reference).drive):
        return _from_file(Path(reference), suffix, by_suffix, framework)
    if framework is not None:
        commands_of(framework)  # imported first, in silence, and with the right flavour of the framework
    model = call_factory(reference, "model")
    owners = [name for name, adapter in adapters.items() if _owns(adapter, model)]
    if not owners or framework not in (None, *owners):
        wanted = framework or " or ".join(adapters)
        raise LoadingError(f"{reference} gave {_kind(model)}, and a {wanted} model is needed")
    name = framework or owners[0]
    return LoadedModel(model, name, adapters[name], commands_of(name))


def load_calibration(reference: str) -> Any:
    """The data behind ``--calibration``: what a factory returns, or the arrays of a .npy or .npz file.

    An .npz holds one array per model input, in the order of the inputs, and gives a list with one
    tuple of arrays; arrays of files are float32 of shape [samples, ...].
    Raises LoadingError in one sentence.
    """
    if ":" in reference.removeprefix(Path(reference).drive):
        data = call_factory(reference, "calibration data")
        if isinstance(data, str | bytes | Mapping | int | float) or callable(data):
            raise LoadingError(f"{reference} gave {_kind(data)}; it should give arrays, or an iterable of batches")
        return data
    path = Path(reference)
    if path.suffix not in ARRAY_SUFFIXES:
        raise LoadingError(
            f"calibration data come from a {' or '.join(ARRAY_SUFFIXES)} file or from {EXAMPLE}, not from {reference!r}"
        )
    arrays = _read_arrays(path)
    checked = [_checked(array, f"{path} ({name})" if name else str(path)) for name, array in arrays.items()]
    if len({len(array) for array in checked}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(arrays, checked, strict=True))
        raise LoadingError(f"the arrays of {path} hold different numbers of samples: {shapes}")
    return checked[0] if len(checked) == 1 else [tuple(checked)]


def call_factory(reference: str, what: str) -> Any:
    """What the factory of a reference returns; the attribute itself where it is no function.

    what: in words, for errors. Raises LoadingError when it does not import, does not exist, fails, or
    returns None. The current directory is importable, as in ``python -m``.
    """
    source, _, name = reference.rpartition(":")
    if not source or not name:
        raise LoadingError(f"{reference!r} is no reference to {what}; write {EXAMPLE}")
    found: Any = _module(source, reference)
    for part in name.split("."):
        if not hasattr(found, part):
            raise LoadingError(f"{source} has no {part!r}{_did_you_mean(part, vars(found))}")
        found = getattr(found, part)
    if not (callable(found) and (isinstance(found, type) or hasattr(found, "__code__"))):
        value = found
    else:
        try:
            value = found()
        except MPQError:
            raise
        except (Exception, SystemExit) as error:
            raise LoadingError(f"{reference} failed: {sentence(error)}") from error
    if value is None:
        raise LoadingError(f"{reference} returned nothing; it should return the {what}")
    return value


def prepare_environment(adapters: Mapping[str, Framework]) -> None:
    """Set what the adapters want in the environment before their frameworks are imported, where it is unset."""
    for adapter in adapters.values():
        if isinstance(adapter, WantsEnvironment):
            for variable, value in adapter.environment.items():
                os.environ.setdefault(variable, value)


def _from_file(path: Path, suffix: str, by_suffix: Mapping[str, str], framework: str | None) -> LoadedModel:
    if suffix not in by_suffix:
        kinds = ", ".join(by_suffix)
        why = " (a checkpoint holds weights and no code)" if suffix in (".pt", ".pth", ".th", ".ckpt") else ""
        raise LoadingError(f"a model is {EXAMPLE} or a file ({kinds}), not {str(path)!r}{why}")
    if framework not in (None, by_suffix[suffix]):
        raise LoadingError(f"{path} is a model of {by_suffix[suffix]}, not of {framework}")
    if not path.exists():
        raise LoadingError(f"there is no file {path}")
    name = by_suffix[suffix]
    commands = commands_of(name)
    try:
        model = commands.load_model(path)
    except MPQError:
        raise
    except Exception as error:
        raise LoadingError(f"{name} cannot read {path}: {_first_sentence(error)}") from error
    return LoadedModel(model, name, registry.host().frameworks()[name], commands)


def commands_of(framework: str) -> ModuleType:
    """What an adapter does for commands: workspace.command_protocol.FrameworkCommands. Raises LoadingError."""
    adapter = registry.host().frameworks()[framework]
    if not isinstance(adapter, OffersCommands):
        raise LoadingError(f"the adapter {framework!r} offers no commands; use its Python functions")
    return adapter.commands()


def _module(source: str, reference: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with silenced("stderr"):  # the notices of frameworks that it imports
            if source.endswith(".py"):
                return _module_of_file(Path(source))
            return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name and (source == error.name or source.startswith(f"{error.name}.")):
            raise LoadingError(f"there is no module {error.name!r}, which {reference} names") from error
        raise LoadingError(f"{source} cannot be imported: {sentence(error)}") from error
    except MPQError:
        raise
    except (Exception, SystemExit) as error:
        raise LoadingError(f"{source} cannot be imported: {sentence(error)}") from error


def _module_of_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or spec is None or spec.loader is None:
        raise LoadingError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        arrays = read_arrays(path)
    except OSError as error:
        raise LoadingError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise LoadingError(f"{path} holds no plain arrays: {error}") from error
    if not arrays:
        raise LoadingError(f"{path} holds no array")
    return arrays


def _checked(array: NDArray[Any], origin: str) -> NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise LoadingError(
            f"{origin} holds {array.dtype} values; save the inputs as the model takes them, scaled and as float32"
        )
    if array.ndim < 2:
        raise LoadingError(f"{origin} has the shape {array.shape}; calibration data are [samples, ...] as the model's")
    return array.astype(np.float32, copy=False)


def _owns(adapter: Framework, model: Any) -> bool:
    return isinstance(adapter, OwnsModels) and bool(adapter.owns(model))


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _did_you_mean(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, [k for k in known if not k.startswith("_")], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _first_sentence(error: BaseException) -> str:
    return " ".join(str(error).split()).split(". ")[0][:200]
