"""Schema: the strict, frozen pydantic models behind our JSON files, and what their errors say."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mpq_plugins.errors import MPQError
from mpq_plugins.stored import json_text

MAX_PROBLEMS = 5


class Schema(BaseModel):
    """A frozen pydantic model that knows no extra fields and converts no types.

    Building one by hand raises ``error`` with every problem named by field and value, instead of
    pydantic's ValidationError. Nested models report the whole path of the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    error: ClassVar[type[MPQError]] = MPQError

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise self.error(f"{type(self).__name__}: {problems(error)}") from None

    def to_json(self) -> str:
        """The value as JSON that people read, without the fields that are None."""
        return json_text.dumps(self.model_dump(mode="json", exclude_none=True))

    # Tells pydantic not to call this __init__ for nested fields, which would lose their path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def problems(error: ValidationError) -> str:
    """One sentence part per problem: the path of the field, what is wrong, and the value.

    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(dict[str, int]).validate_python({"bits": "four"}, strict=True)
    ... except ValidationError as error:
    ...     print(problems(error))
    bits: input should be a valid integer, got 'four'
    """
    found = [_problem(item) for item in error.errors(include_url=False, include_context=False)]
    more = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
    return "; ".join(found[:MAX_PROBLEMS]) + more


def _problem(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "the whole"
    if item["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    if item["type"] == "missing":
        return f"{where}: this field is missing"
    text = item["msg"].removeprefix("Value error, ")
    text = text if item["type"] == "value_error" else text[:1].lower() + text[1:]
    return f"{where}: {text}, got {_short(item['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
