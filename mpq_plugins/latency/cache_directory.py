"""Where measurements are kept between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "MPQ_CACHE_DIR"


def cache_directory(part: str) -> Path:
    """The directory for one kind of measurements, made if it is not there.

    It is ``part`` below ``$MPQ_CACHE_DIR``, or else below mpq-plugins in the user's cache directory.
    What is in it can be deleted at any time.
    """
    given = os.environ.get(VARIABLE)
    directory = (Path(given).expanduser() if given else _of_user() / "mpq-plugins") / part
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _of_user() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
