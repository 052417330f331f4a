"""A training method as plain values, for the configuration of a Keras model, and back."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass, replace
from typing import Any

from mpq_plugins.errors import MPQError
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import trainable

Described = str | dict[str, Any]


def describe(method: str | TrainingMethod) -> Described:
    """The name of a method; with its hyper-parameters where they are not those that are registered.

    Raises MPQError where no method of this name is registered, so that the model could not be loaded.
    """
    if isinstance(method, str):
        return method
    registered = trainable(method.name)
    if type(registered) is not type(method) or not is_dataclass(method):
        raise MPQError(
            f"method {method.name!r} is not the registered one; register {type(method).__name__} with "
            "mpq_register_methods, so that a saved model finds it again"
        )
    if method == registered:
        return method.name
    return {"name": method.name, "options": asdict(method)}


def method_of(described: Described | TrainingMethod) -> TrainingMethod:
    """The method that ``describe`` described; methods themselves pass. Raises as plugins.method does."""
    if not isinstance(described, dict):
        return trainable(described)
    options = {name: tuple(v) if isinstance(v, list) else v for name, v in described["options"].items()}
    return replace(trainable(described["name"]), **options)  # type: ignore[type-var]
