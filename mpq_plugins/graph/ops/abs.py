"""The magnitude of each element."""

from mpq_plugins.graph.op import Op, never

OPS = (
    Op(
        "abs",
        lambda run, node, x: run.abs(x),
        table=True,
        negative=never,
        spellings={
            "torch": ("operator.abs", "torch.abs", "torch.absolute", ".abs", ".absolute"),
            "keras": ("abs",),
            "onnx": ("Abs",),
        },
    ),
)
