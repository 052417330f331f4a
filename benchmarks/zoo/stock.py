"""The same networks through the frameworks' own tools, at 8 bits with their defaults."""

from __future__ import annotations

import copy
from typing import Any

BY = {"torch": ("torch.ao FX", "torchao PT2E"), "keras": ("LiteRT converter",)}


def converted(by: str, model: Any, images: Any) -> tuple[str, str, str]:
    """Whether there is a model that runs. (A share of MACs is not to be had of it, so it stays empty.)"""
    {"torch.ao FX": _fx, "torchao PT2E": _pt2e, "LiteRT converter": _litert}[by](model, images)
    return "runs", "", ""


def _fx(model: Any, images: Any) -> None:
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "x86"
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping("x86"), (images,))
    with torch.no_grad():
        prepared(images)
        convert_fx(prepared)(images)


def _pt2e(model: Any, images: Any) -> None:
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = prepare_pt2e(torch.export.export(model, (images,)).module(), quantizer)
        prepared(images)
        convert_pt2e(prepared)(images)


def _litert(model: Any, images: Any) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from mpq_tfmot.keras import tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images[:1])
    interpreter.invoke()
