"""What our verbs find in the process and leave as it was: autograd's mode, torch's random numbers, torch.fx's state."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")


_TURN = threading.RLock()


def one_at_a_time(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, for which other threads that call one of its kind wait.

    torch.fx traces and interprets with state of the whole process (patched modules, the node that runs), which two
    threads at once leave broken for good.
    """

    @functools.wraps(function)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with _TURN:
            return function(*args, **kwargs)

    return wrapped


def undisturbed(verb: Callable[Given, Result]) -> Callable[Given, Result]:
    """The verb with gradients on, whatever mode it is called in, torch's random state restored after it, one at a time.

    (Under torch.inference_mode no gradient would reach any site; building torch modules draws initial weights.)
    """

    @functools.wraps(verb)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with _TURN, torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            return verb(*args, **kwargs)

    return wrapped
