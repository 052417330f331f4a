"""LiteRT's int8 kernels: XNNPACK, the default, and the built-in ones without it. Measured with ai-edge-litert 2.3.

XNNPACK leaves transposed convolutions of an open batch to the optimized built-in kernel, which requantizes eight
channels at once and what is left over one by one, and shifts the two differently. Dense layers of the built-in kernels
are requantized as XNNPACK's.
"""

from mpq_plugins.graph.runtimes.runtime import LOOKUP, Entry, Runtime

XNNPACK = Runtime(
    "tfmot",
    "xnnpack",
    Entry(by="reciprocal"),
    {"*": "half_even", "add": "half_up", "avg_pool": "half_away"},
    {"*": "float32", "conv_transpose1d": "fixed_point_vectors", "conv_transpose2d": "fixed_point_vectors"},
    sums="shared_shift",
    products="float32",
    averages="stored",
    means="reciprocal",
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
)
RUNTIMES = (XNNPACK, BUILTIN)
