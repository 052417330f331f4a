"""A network through search, conversion and verification, on one target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from integration_tests.bits import widest
from mpq_plugins import plugins
from mpq_plugins.graph.shares import float_macs, float_reasons, macs_of

BITS = 8
TARGETS = {"torch": ("torch-x86", "torch-pt2e", "onnxruntime", "litert-po2"), "keras": ("litert-po2", "onnxruntime")}
DEFAULTS = {"torch": ("torch-x86", "torch-pt2e"), "keras": ("litert-po2",)}


def exactness(model: Any, images: Any, target: str) -> tuple[str, str, str]:
    """Whether what the runtime computes is its simulation, the share of MACs that is quantized, and what is float."""
    recipe, verification = (_keras if not hasattr(model, "state_dict") else _torch)(model, images, target)
    compared = verification.elements + verification.float_elements
    differing = verification.mismatched + verification.float_mismatched
    verdict = (
        "exact" if not differing else f"{differing} of {compared} differ, from {verification.first_differing_site}"
    )
    return verdict, f"{100 * recipe.quantized_macs:.1f} %", _floats(recipe.floats)


def placed(model: Any, images: Any, target: str) -> tuple[str, str, str]:
    """The share of MACs that the target has kernels for, and what would be float, without a search."""
    hardware = plugins.target(target)
    if hasattr(model, "state_dict"):
        from mpq_torch.reader.data import read_with_data

        graph = read_with_data(model, [images], target=hardware)[0].graph
    else:
        from mpq_tfmot.reader.reading import read_model

        graph = read_model(model, target=hardware, refusing=True).graph
    total, in_float = sum(macs_of(node, graph) for node in graph.nodes), sum(float_macs(graph).values())
    return "placed", f"{100 * (1 - in_float / total):.1f} %", _counted(float_reasons(graph).values())


def _torch(model: Any, images: Any, target: str) -> tuple[Any, Any]:
    import mpq_torch
    from mpq_torch import fx, litert, onnx, pt2e

    way = pt2e if "pt2e" in target else fx
    recipe = way.search(
        model, [images], target, weight_bits=min(BITS, widest(target)), activation_bits=BITS, progress=False
    )
    on_grid = way.constrain(model, recipe, [images])
    if target == "generic-po2":
        program = mpq_torch.integers(on_grid, recipe, images)
        return recipe, mpq_torch.verify_integers(program, on_grid, recipe, [images])
    if target == "litert-po2":
        return recipe, litert.verify(litert.export(on_grid, recipe, images), on_grid, [images], recipe)
    simulated = way.simulate(on_grid, recipe, example_inputs=images)
    if target == "onnxruntime":
        return recipe, onnx.verify(onnx.export(on_grid, recipe, images), simulated, [images])
    return recipe, way.verify(way.quantize(on_grid, recipe, images), simulated, [images])


def _keras(model: Any, images: Any, target: str) -> tuple[Any, Any]:
    import mpq_tfmot
    from mpq_tfmot import litert, onnx

    images = [tuple(images)] if isinstance(images, list) else images

    recipe = mpq_tfmot.search(
        model, images, target, weight_bits=min(BITS, widest(target)), activation_bits=BITS, progress=False
    )
    if target == "generic-po2":
        on_grid = mpq_tfmot.constrain(model, recipe, images)
        return recipe, mpq_tfmot.verify_integers(mpq_tfmot.integers(on_grid, recipe), on_grid, recipe, images)
    written = onnx if target == "onnxruntime" else litert
    on_grid = mpq_tfmot.constrain(model, recipe, images)
    return recipe, written.verify(written.export(on_grid, recipe), on_grid, images, recipe)


def _floats(parts: Any) -> str:
    return _counted(part.reason or part.name for part in parts)


def _counted(reasons: Iterable[str]) -> str:
    """The reasons of float parts with their numbers, the most frequent first."""
    return "; ".join(f"{count} x {reason}" for reason, count in Counter(reasons).most_common())
