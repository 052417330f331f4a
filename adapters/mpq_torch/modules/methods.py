"""Methods of constants in a graph that is written, which is traced again by torch.ao."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx


@fx.wrap
def of_constant(tensor: Tensor, method: str, *args: Any, **kwargs: Any) -> Any:
    """What a method of a tensor of the model gives, whose other arguments are sizes.

    torch's tracers have a tensor itself in the place of a buffer, and its methods take no size that is traced.
    """
    return getattr(tensor, method)(*args, **kwargs)
