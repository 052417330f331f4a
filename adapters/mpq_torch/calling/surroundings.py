"""What our verbs find in the process and leave as it was.

Autograd's mode, torch's random numbers, torch.fx's state, and the leave to compute with less than float32.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

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


@contextmanager
def whole_floats() -> Iterator[None]:
    """float32 products of float32 numbers, though the process may take TF32's or bfloat16's 10 and 7 bits for them.

    They are cuDNN's default on a GPU, and torch.set_float32_matmul_precision's choice; grids would not be
    those that the processor finds. torch keeps two switches for the same thing, and complains where they differ: both
    are put back.
    """
    libraries = (torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn)
    found = (getattr(library, name, None) for library in libraries for name in ("matmul", "conv", "rnn"))
    places: list[Any] = [place for place in found if hasattr(place, "fp32_precision")]  # older ones have the one switch
    before = [place.fp32_precision for place in places]
    products, images = None, None
    with suppress(RuntimeError):  # the two switches differ already, and stay what they are
        products = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        images = torch.backends.cudnn.allow_tf32
    try:
        if products is not None:
            torch.set_float32_matmul_precision("highest")
        if images is not None:
            torch.backends.cudnn.allow_tf32 = False
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if images is not None:
            torch.backends.cudnn.allow_tf32 = images
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def undisturbed(verb: Callable[Given, Result]) -> Callable[Given, Result]:
    """The verb with gradients on, whatever mode it is called in, and in whole floats; one at a time.

    torch's random state is restored after it.

    (Under torch.inference_mode no gradient would reach any site; building torch modules draws initial weights.)
    """

    @functools.wraps(verb)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        random = torch.random.fork_rng(devices=[])
        with _TURN, torch.inference_mode(False), torch.enable_grad(), random, whole_floats():
            return verb(*args, **kwargs)

    return wrapped
