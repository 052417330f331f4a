"""LiteRT's int8 kernels: XNNPACK, the default, and the built-in ones. Measured with ai-edge-litert 2.3 on x86-64.

The built-in kernels are two sets: the reference ones ("builtin"), whose dense layers are requantized as XNNPACK's, and
the optimized ones, which run where there is no delegate. XNNPACK leaves transposed convolutions of an open batch to the
optimized kernel. That one, and the optimized depthwise convolution, requantize eight channels at once and what is left
over one by one, and shift the two differently; the other optimized layers shift every channel half up, but for
convolutions in groups, which the reference kernel computes.

XNNPACK leaves sums and products whose steps lie far apart to the optimized kernels, and so it does matrix products
whose second operand is stored about a zero point. It refuses layers whose output is
much finer than the accumulator, and the optimized add saturates at wrong codes where its output is; the reference add
ends the process where its output is finer still.
"""

from mpq_plugins.graph.runtimes.runtime import LAYER, LOOKUP, Entry, Runtime

XNNPACK = Runtime(
    "tfmot",
    "xnnpack",
    Entry(by="reciprocal"),
    {"*": "half_even", "add": "half_up", "avg_pool": "half_away"},
    {"*": "float32", "conv_transpose1d": "fixed_point_vectors", "conv_transpose2d": "fixed_point_vectors"},
    shifted="fixed_point",
    sums="shared_shift",
    products="float32",
    averages="stored",
    means="reciprocal",
    gains={"add": (2.0**-10, 2.0**8), "mul": (2.0**-16, 2.0**8)},
    others="fixed_point",
    limits={LAYER: (0.0, 2.0**8), "add": (0.0, 2.0**8), "matmul": (0.0, 2.0**8)},
    rows=True,
)
BUILTIN = Runtime(
    "tfmot",
    "builtin",
    Entry(),
    {"*": "half_away", LOOKUP: "half_even"},
    {"*": "fixed_point", "linear": "float32"},
    sums="fixed_point",
    products="fixed_point",
    averages="stored",
    means="fixed_point",
    limits={"add": (0.0, 2.0**19)},
    rows=True,
)
OPTIMIZED = Runtime(
    "tfmot",
    "optimized",
    Entry(),
    {"*": "half_away", LOOKUP: "half_even", "linear": "half_up", "conv1d": "half_up", "conv2d": "half_up"},
    {
        "*": "fixed_point_vectors",
        "linear": "fixed_point_upward",
        "conv1d": "fixed_point_upward",
        "conv2d": "fixed_point_upward",
        "matmul": "fixed_point",
    },
    grouped="fixed_point",
    sums="fixed_point",
    products="fixed_point",
    averages="stored",
    means="fixed_point",
    limits={"add": (0.0, 2.0**8)},
    rows=True,
)
RUNTIMES = (XNNPACK, BUILTIN, OPTIMIZED)
