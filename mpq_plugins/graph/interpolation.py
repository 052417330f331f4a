"""The weights of an interpolation along an axis, found by what a framework makes of images of one stripe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW = 16
"""So many elements of the other axes are enough to see what becomes of one."""


def weights_along(
    sizes: Sequence[int], axis: int, resize: Callable[[NDArray[np.float32]], NDArray[Any]]
) -> NDArray[np.float64]:
    """The weight of each element of an axis in each of the output, [out, in].

    sizes: of the image along its axes, without channels. resize: resizes images [count, *sizes], whose other axes may
    be shorter.

    >>> weights_along((2, 3), 0, lambda images: images.repeat(2, axis=1)).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    """
    few = [min(size, FEW) for size in sizes]
    size = few[axis] = sizes[axis]
    stripes = np.eye(size, dtype=np.float32).reshape(size, *(size if at == axis else 1 for at in range(len(sizes))))
    found = resize(np.ascontiguousarray(np.broadcast_to(stripes, (size, *few))))
    along = np.moveaxis(found, 1 + axis, 1).reshape(size, found.shape[1 + axis], -1)[..., 0]
    return np.asarray(along.T, np.float64)
