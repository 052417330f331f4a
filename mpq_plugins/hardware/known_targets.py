"""The targets that plug-ins have registered, by name, from a file, and as a recipe says them."""

from __future__ import annotations

import os
from typing import Protocol, runtime_checkable

from mpq_plugins import registry
from mpq_plugins.errors import RecipeError
from mpq_plugins.hardware.target import Target


@runtime_checkable
class Targeted(Protocol):
    """What names a target: a recipe. hardware: the target itself, where it is none of mpq-plugins' own."""

    @property
    def target(self) -> str: ...
    @property
    def hardware(self) -> Target | None: ...


def targets() -> dict[str, Target]:
    """The registered targets by name."""
    return registry.host().targets()


def target(target: str | os.PathLike[str] | Target) -> Target:
    """A target by name, from a .json file, or itself; raises TargetError with the closest names."""
    found: Target = registry.host().target(target)
    return found


def target_of(recipe: Targeted) -> Target:
    """The target of a recipe: the one that it holds, else the registered one of its name; raises TargetError.

    Raises RecipeError for what is no recipe.
    """
    if not isinstance(recipe, Targeted):
        raise RecipeError(
            f"a recipe is what search returned, or Recipe.load(path) read, and not a {type(recipe).__name__}"
            + (f": {recipe!r}" if isinstance(recipe, (str, os.PathLike)) else "")
        )
    return target(recipe.target if recipe.hardware is None else recipe.hardware)


def for_recipe(target: Target) -> str | Target:
    """What a recipe says of its target: the name of one of mpq-plugins' own, else the target itself."""
    said: str | Target = registry.host().for_recipe(target)
    return said
