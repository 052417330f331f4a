"""Heading: what our JSON files say they are, and what another, a damaged or a newer file gets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from mpq_plugins.errors import MPQError
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.schema import Schema, problems

Kind = TypeVar("Kind", bound=Schema)


@dataclass(frozen=True)
class Heading:
    """The fields ``format`` and ``schema_version`` of a kind of file.

    format: None for files that people write by hand, which need neither field. version: of the schema.
    oldest: version that is read too; None for the one alone.
    name: of such a file, in words. error: raised for any other. otherwise: what else a person can do about
    a file that is damaged or newer.

    >>> recipes = Heading("mpq-recipe", 1, "recipe", MPQError)
    >>> recipes.parse('{"format": "mpq-recipe", "schema_version": 2}', "new.json")
    Traceback (most recent call last):
    mpq_plugins.errors.MPQError: new.json has schema 2, and this version of mpq-plugins reads 1; upgrade mpq-plugins
    """

    format: str | None
    version: int
    name: str
    error: type[MPQError]
    otherwise: str = ""
    oldest: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The two fields."""
        return {"format": self.format, "schema_version": self.version}

    def parse(self, text: str | bytes, origin: str) -> dict[str, Any]:
        """The object of a JSON text. origin: names it in errors."""
        try:
            data = json.loads(text, object_pairs_hook=_without_repeats)
        except ValueError as failure:
            raise self.damaged(failure, origin) from None
        except RecursionError:
            raise self.damaged("it is nested too deeply", origin) from None
        if not isinstance(data, dict) or (self.format is not None and data.get("format") != self.format):
            marked = "" if self.format is None else f' with "format": "{self.format}"'
            raise self.error(f"{origin} is no {self.name}: it should be a JSON object{marked}")
        if self.format is None and "format" in data:
            raise self.error(f"{origin} is no {self.name}: it says that it is {data['format']!r}")
        if self.format is not None and "schema_version" not in data:
            raise self.damaged("schema_version: this field is missing", origin)
        version = data.get("schema_version", self.version)
        oldest = self.version if self.oldest is None else self.oldest
        if type(version) is not int or version < oldest:
            known = f"{self.version}" if oldest == self.version else f"{oldest} to {self.version}"
            raise self.damaged(f"schema_version: it should be {known}, got {version!r}", origin)
        if version > self.version:
            remedy = f"upgrade mpq-plugins, or {self.otherwise}" if self.otherwise else "upgrade mpq-plugins"
            raise self.error(
                f"{origin} has schema {version}, and this version of mpq-plugins reads {self.version}; {remedy}"
            )
        return data

    def model(
        self, kind: type[Kind], text: str | bytes, origin: str, older: Mapping[int, type[Kind]] = MappingProxyType({})
    ) -> Kind:
        """The value of a JSON text whose fields ``kind`` describes. older: by version, what describes those before."""
        kind = older.get(self.parse(text, origin).get("schema_version", self.version), kind)
        try:
            return kind.model_validate_json(text)
        except ValidationError as failure:
            raise self.damaged(problems(failure), origin) from None

    def load(self, kind: type[Kind], path: str | os.PathLike[str]) -> Kind:
        """The value of such a file."""
        return self.model(kind, whole_file.read(path, self.name, self.error), str(path))

    def damaged(self, why: object, origin: str) -> MPQError:
        """The error for a file that says it is one, and is not as it should be."""
        state = "is damaged" if self.format is not None else f"is no valid {self.name}"
        remedy = f"; {self.otherwise}" if self.otherwise else ""
        return self.error(f"{origin} {state}: {why}{remedy}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} occurs twice")
        found[name] = value
    return found
