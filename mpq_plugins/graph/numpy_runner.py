"""The part of Runner that functions of one element need, in NumPy's float64: what their tables are made with."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.special import erf

from mpq_plugins.array_ops.reference import NumpyOps


class NumpyRunner(NumpyOps):
    """Elementwise functions only; a framework computes the rest."""

    nearest: Any = staticmethod(np.rint)
    erf: Any = staticmethod(erf)
    threads = 1
    one_thread: Any = staticmethod(nullcontext)


NUMPY_RUNNER: Any = NumpyRunner()
