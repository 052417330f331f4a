"""Arrays of NumPy's own files, of which nothing is run, and whatever is wrong with a file is one error."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.stored import whole_file

VALUES = "rest"
"""The entry of an .npz file that holds plain values, as JSON."""
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


def save_with_values(path: Path, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, and plain values as JSON among them, all of it or nothing; raises OSError."""
    text = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)
    with whole_file.replacing(path) as file:
        np.savez(file, **{VALUES: text, **arrays})  # type: ignore[arg-type]


def load_with_values(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What ``save_with_values`` was given. Raises OSError, ValueError, KeyError and RecursionError for other files."""
    arrays = read_arrays(path)
    values: dict[str, Any] = json.loads(arrays.pop(VALUES).tobytes())
    return values, arrays
