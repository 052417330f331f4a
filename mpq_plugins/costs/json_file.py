"""Reading the JSON files of what was measured: fields that no schema describes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mpq_plugins.errors import CostError
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading

Read = TypeVar("Read")


def read(path: str | os.PathLike[str], heading: Heading, parse: Callable[[Mapping[str, Any]], Read]) -> Read:
    """What ``parse`` makes of a file's object.

    Raises the error of the heading, naming the file, where it is not to be read, of another format or schema,
    or ``parse`` finds it damaged.
    """
    data = heading.parse(whole_file.read(path, heading.name, heading.error), str(path))
    try:
        return parse(data)
    except (KeyError, TypeError, ValueError, AttributeError, CostError) as error:
        raise heading.damaged(error, str(path)) from None
