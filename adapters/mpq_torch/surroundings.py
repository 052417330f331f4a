"""What our verbs find in the process and leave as it was: autograd's mode, and torch's random numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Verb = TypeVar("Verb", bound=Callable[..., Any])


def undisturbed(verb: Verb) -> Verb:
    """The verb with gradients on, whatever mode it is called in, and torch's random state restored after it.

    (Under torch.inference_mode no gradient would reach any site; building torch modules draws initial weights.)
    """

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            return verb(*args, **kwargs)

    return wrapped  # type: ignore[return-value]
