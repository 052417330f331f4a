"""torch's quantized engines, and torchao's PT2E flow. Measured on torch 2.13 and torchao 0.18.

quantize_per_tensor adds the zero point before it rounds; PT2E's ops round first. QNNPACK's own add takes equal
shapes only; torch's general kernel does the rest, half to even.
"""

from mpq_plugins.graph.runtimes.runtime import Entry, Runtime
from mpq_plugins.hardware.op_support import Rounding

SILU = {"silu": (("sigmoid", ("input",)), ("mul", ("input", "sigmoid")))}
"""No engine has a kernel of SiLU. Between them the sigmoid lies on its own grid of 1/256."""
CONTAINER = Entry(by="reciprocal", zero_point=True)
LONGEST = 512
"""Products of 255 and -128 that float32 adds up exactly."""
TAKEN_APART = ("log_sigmoid", "softsign", "tanhshrink")
"""What torch.export writes as several ops: a softsign as abs, add and div."""
PARTIAL = ("acos", "acosh", "asin", "atanh", "log", "log10", "log1p", "log2", "power", "rsqrt", "sqrt")
"""What is NaN in floats outside of its domain, and NaN becomes the code that the processor likes."""
WRITTEN_OUT = ("piecewise",)
"""What no operator of torch computes at once."""
QNNPACK: dict[str, Rounding] = {"*": "half_even", "add": "half_away"}

RUNTIMES = (
    Runtime("torch", "x86", CONTAINER, sums="float32", longest_products=LONGEST, compositions=SILU, tables=False),
    Runtime("torch", "onednn", CONTAINER, sums="float32", longest_products=LONGEST, compositions=SILU, tables=False),
    Runtime(
        "torch",
        "qnnpack",
        CONTAINER,
        QNNPACK,
        sums="float32",
        longest_products=LONGEST,
        broadcast_rounding="half_even",
        limits={"add": (2.0**-14, 2.0**8)},
        compositions=SILU,
        tables=False,
    ),
    Runtime(
        "torch",
        "pt2e",
        Entry(by="reciprocal"),
        sums="float32",
        longest_products=LONGEST,
        tables=False,
        lacks=TAKEN_APART + PARTIAL + WRITTEN_OUT,
    ),
)
