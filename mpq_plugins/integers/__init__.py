"""A quantized model as integers and shifts alone: codes, step exponents, int32 biases and right shifts.

``mpq_torch.integers`` and ``mpq_tfmot.integers`` make a Program from a model and its recipe; ``run`` executes it in
NumPy, ``save`` and ``load`` keep it as JSON and .npz, ``write_c`` writes it as a C header.
"""

from mpq_plugins.integers.c_header import write_c
from mpq_plugins.integers.c_memory import plan_memory
from mpq_plugins.integers.entrance import input_codes, output_values
from mpq_plugins.integers.executor import run, trace
from mpq_plugins.integers.file import load, save
from mpq_plugins.integers.program import Program

__all__ = ["Program", "input_codes", "load", "output_values", "plan_memory", "run", "save", "trace", "write_c"]
