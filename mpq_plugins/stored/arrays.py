"""Arrays of NumPy's own files, of which nothing is run, and whatever is wrong with a file is one error."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DAMAGE = (
    ValueError,  # a header that says another size than the file has
    EOFError,
    KeyError,
    TypeError,
    AttributeError,  # an entry that is no array
    NotImplementedError,  # a compression of its own
    MemoryError,  # a header that asks for more than there is
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name, or that of an .npy file under "".

    Raises OSError where it cannot be read, and ValueError, in words, where it holds anything but plain arrays.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except _DAMAGE as error:
        raise ValueError(" ".join(str(error).split()).split(". ")[0][:200] or type(error).__name__) from error
    strange = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strange:
        raise ValueError(f"{', '.join(strange)} are no arrays")
    return arrays
