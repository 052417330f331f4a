"""Reading the JSON files of what was measured: the checks that come before the fields of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mpq_plugins.errors import CostError

Read = TypeVar("Read")


def read(
    path: str | os.PathLike[str],
    kind: tuple[str, int],
    name: str,
    parse: Callable[[Mapping[str, Any]], Read],
    otherwise: str = "",
) -> Read:
    """What ``parse`` makes of a file's object. kind: its "format" and "schema_version"; name: of such files.

    otherwise: what else a person can do about a file that is damaged or newer. Raises CostError, naming the
    file, where it is not to be read, of another format or schema, or ``parse`` finds it damaged.
    """
    wanted, version = kind
    remedy = f"; {otherwise}" if otherwise else ""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CostError(f"cannot read the {name} {path}: {error.strerror}") from None
    except ValueError as error:
        raise CostError(f"{path} is damaged: {error}{remedy}") from None
    if not isinstance(data, dict) or data.get("format") != wanted:
        raise CostError(f'{path} is no {name}: it should be a JSON object with "format": "{wanted}"')
    if data.get("schema_version") != version:
        newer = f"upgrade mpq-plugins, or {otherwise}" if otherwise else "upgrade mpq-plugins"
        raise CostError(
            f"{path} has schema {data.get('schema_version')}, and this version of mpq-plugins reads {version}; {newer}"
        )
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError, CostError) as error:
        raise CostError(f"{path} is damaged: {error}{remedy}") from None
