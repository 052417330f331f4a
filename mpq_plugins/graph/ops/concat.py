"""Activations one behind another along an axis (attrs: axis); all of them share one grid."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "concat",
        lambda run, node, *parts: run.concat(parts, node.attrs["axis"]),
        arity=None,
        grid="all",
        integers=lambda steps, node: steps.concat(node, node.attrs["axis"]),
        axes={"axis": "one"},
        spellings={
            "litert": ("CONCATENATION",),
            "torch": ("torch.cat", "torch.concat", "torch.concatenate"),
            "keras": ("Concatenate",),
        },
    ),
)
