"""The part of Runner that functions of one element need, in NumPy's float64: what their tables are made with."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.special import erf

from mpq_plugins.array_ops.reference import NumpyOps
from mpq_plugins.graph.runner import Precision


class NumpyRunner(NumpyOps):
    """Elementwise functions only; a framework computes the rest."""

    nearest: Any = staticmethod(np.rint)
    atan: Any = staticmethod(np.arctan)
    erf: Any = staticmethod(erf)
    threads = 1
    one_thread: Any = staticmethod(nullcontext)

    def to_precision(self, x: Any, precision: Precision) -> Any:
        return np.asarray(x, precision)

    def precision_of(self, x: Any) -> Precision:
        return "float64" if np.asarray(x).dtype == np.float64 else "float32"


NUMPY_RUNNER: Any = NumpyRunner()
