"""Reading and writing the JSON files beside a recipe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from mpq_plugins.errors import OutputError, RecipeError
from mpq_plugins.recipe_file import json_text
from mpq_plugins.schema import Schema, problems

Kind = TypeVar("Kind", bound=Schema)


def read(kind: type[Kind], path: str | os.PathLike[str], what: str, format: str) -> Kind:
    """The value of a JSON file. what: in words. Raises RecipeError where it is none, damaged or newer."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise RecipeError(f"cannot read the {what} {path}: {error.strerror}") from error
    try:
        data = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{path} is damaged: {error}") from None
    if not isinstance(data, dict) or data.get("format") != format:
        raise RecipeError(f'{path} is no {what} file: it should be a JSON object with "format": "{format}"')
    if isinstance(data.get("schema_version"), int) and data["schema_version"] > 1:
        raise RecipeError(f"{path} has schema {data['schema_version']}, and this version reads 1; upgrade mpq-plugins")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RecipeError(f"{path} is damaged: {problems(error)}") from None


def write(value: Schema, path: str | os.PathLike[str]) -> None:
    """Write JSON, all of it or nothing. Raises OutputError."""
    final = Path(path)
    draft = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        draft.write_text(json_text.dumps(value.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        draft.replace(final)
    except OSError as error:
        raise OutputError(f"cannot write {final}: {error.strerror}") from error
