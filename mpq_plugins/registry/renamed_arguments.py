"""Arguments that have got a better name, and are taken by the old one for a release."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def renamed(**names: str) -> Callable[[Function], Function]:
    """Let a function take arguments by their old names, old=new, with a DeprecationWarning.

    >>> @renamed(flat="exported")
    ... def size(exported: bytes) -> int:
    ...     return len(exported)
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     size(flat=b"abc")
    3
    >>> str(caught[0].message)
    "argument 'flat' of size is now called 'exported'"
    """

    def decorated(function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            for old, new in names.items():
                if old in kwargs and new not in kwargs:
                    message = f"argument {old!r} of {function.__name__} is now called {new!r}"
                    warnings.warn(message, DeprecationWarning, stacklevel=2)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorated
