"""The inventory of a network of two layers: a convolution of 216 weights, and a linear of 1,280."""

from mpq_plugins.inventory import Inventory, Site

INVENTORY = Inventory(
    [
        Site("x", "activation", "input", (3, 4, 4)),
        Site("a.weight", "weight", "conv2d", (8, 3, 3, 3), macs=3456, channel_axis=0, inputs=("x",)),
        Site("a", "activation", "conv2d", (8, 4, 4), inputs=("x",), signed=False),
        Site("b.weight", "weight", "linear", (10, 128), macs=1280, channel_axis=0, inputs=("a",)),
        Site("b", "activation", "linear", (10,), inputs=("a",)),
    ],
    live=[("x",), ("x", "a"), ("a", "b")],
)
