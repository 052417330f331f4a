"""The matrix products of two activations of as many axes, [..., rows, inner] and [..., inner, columns]."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "matmul",
        lambda run, node, a, b: run.product(a, b),
        arity=2,
        ordered=True,
        integers=lambda steps, node: steps.matmul(node),
        spellings={"litert": ("BATCH_MATMUL",), "torch": ("torch.matmul",), "onnx": ("MatMul",)},
    ),
)
