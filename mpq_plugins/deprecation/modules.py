"""Modules that have moved: an import of the old path says the new one.

A path that is a room by now (mpq_plugins.costs) is that room, which says where a name of the old module is.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import NoReturn

MOVED: Mapping[str, str] = {
    "mpq_plugins.allocation": "mpq_plugins.allocation.allocator",
    "mpq_plugins.backend_package": "mpq_plugins.plugins.backend_package",
    "mpq_plugins.bias_correction": "mpq_plugins.rounding.bias_correction",
    "mpq_plugins.binning.candidate_grids": "mpq_plugins.thresholds.candidate_grids",
    "mpq_plugins.binning.float_bins": "mpq_plugins.thresholds.float_bins",
    "mpq_plugins.binning.octave_errors": "mpq_plugins.thresholds.octave_errors",
    "mpq_plugins.binning.row_errors": "mpq_plugins.thresholds.row_errors",
    "mpq_plugins.binning.search_window": "mpq_plugins.thresholds.search_window",
    "mpq_plugins.binning.threshold_metrics": "mpq_plugins.thresholds.threshold_metrics",
    "mpq_plugins.binning.weighted_points": "mpq_plugins.thresholds.weighted_points",
    "mpq_plugins.budget": "mpq_plugins.costs.budget",
    "mpq_plugins.builtin_costs": "mpq_plugins.builtin.costs",
    "mpq_plugins.cache_directory": "mpq_plugins.latency.cache_directory",
    "mpq_plugins.calibration.chunks": "mpq_plugins.rounding.moments.chunks",
    "mpq_plugins.calibration.few_moments": "mpq_plugins.rounding.moments.few_moments",
    "mpq_plugins.calibration.holding": "mpq_plugins.rounding.moments.holding",
    "mpq_plugins.calibration.input_moments": "mpq_plugins.rounding.moments.input_moments",
    "mpq_plugins.calibration.layer_sums": "mpq_plugins.rounding.moments.layer_sums",
    "mpq_plugins.calibration.order": "mpq_plugins.rounding.moments.order",
    "mpq_plugins.calibration.snapping": "mpq_plugins.rounding.moments.snapping",
    "mpq_plugins.calibration.thinning": "mpq_plugins.rounding.moments.thinning",
    "mpq_plugins.capabilities": "mpq_plugins.hardware.op_support",
    "mpq_plugins.cli": "mpq_plugins.commands.cli",
    "mpq_plugins.command_protocol": "mpq_plugins.workspace.command_protocol",
    "mpq_plugins.compensation.choice": "mpq_plugins.rounding.choice",
    "mpq_plugins.compensation.descent": "mpq_plugins.rounding.descent",
    "mpq_plugins.compensation.factor": "mpq_plugins.rounding.factor",
    "mpq_plugins.compensation.factored": "mpq_plugins.rounding.factored",
    "mpq_plugins.compensation.feedback": "mpq_plugins.rounding.feedback",
    "mpq_plugins.compensation.levels": "mpq_plugins.rounding.levels",
    "mpq_plugins.compensation.rating": "mpq_plugins.rounding.rating",
    "mpq_plugins.compensation.search": "mpq_plugins.rounding.search",
    "mpq_plugins.compensation.thin": "mpq_plugins.rounding.thin",
    "mpq_plugins.costs": "mpq_plugins.costs.cost_models",
    "mpq_plugins.demo": "mpq_plugins.commands.digits",
    "mpq_plugins.equalization": "mpq_plugins.search.equalization",
    "mpq_plugins.fisher": "mpq_plugins.sensitivity.fisher",
    "mpq_plugins.folding": "mpq_plugins.graph.folded_norms",
    "mpq_plugins.free_steps": "mpq_plugins.thresholds.free_steps",
    "mpq_plugins.hardware.bit_array": "mpq_plugins.builtin.bit_array",
    "mpq_plugins.hardware.generic": "mpq_plugins.builtin.generic",
    "mpq_plugins.hardware.litert": "mpq_plugins.builtin.litert",
    "mpq_plugins.hardware.onnxruntime": "mpq_plugins.builtin.onnxruntime",
    "mpq_plugins.hardware.torch_kernels": "mpq_plugins.builtin.torch_kernels",
    "mpq_plugins.headroom": "mpq_plugins.search.headroom",
    "mpq_plugins.histogram": "mpq_plugins.thresholds.histogram",
    "mpq_plugins.hookspecs": "mpq_plugins.plugins.hookspecs",
    "mpq_plugins.hosting.admission": "mpq_plugins.plugins.admission",
    "mpq_plugins.hosting.devices": "mpq_plugins.plugins.devices",
    "mpq_plugins.hosting.discovery": "mpq_plugins.plugins.discovery",
    "mpq_plugins.hosting.registrations": "mpq_plugins.plugins.registrations",
    "mpq_plugins.known_targets": "mpq_plugins.hardware.known_targets",
    "mpq_plugins.latency.device": "mpq_plugins.hardware.device",
    "mpq_plugins.latency.json_file": "mpq_plugins.costs.json_file",
    "mpq_plugins.latency.op_table": "mpq_plugins.costs.op_table",
    "mpq_plugins.latency.workload": "mpq_plugins.hardware.workload",
    "mpq_plugins.latency_table": "mpq_plugins.costs.latency_table",
    "mpq_plugins.listing": "mpq_plugins.commands.listing",
    "mpq_plugins.loading": "mpq_plugins.workspace.loading",
    "mpq_plugins.methods.activation_rule": "mpq_plugins.papers.activation_rule",
    "mpq_plugins.methods.dorefa": "mpq_plugins.papers.dorefa",
    "mpq_plugins.methods.fdqmp": "mpq_plugins.papers.fdqmp",
    "mpq_plugins.methods.fdqmp_start": "mpq_plugins.papers.fdqmp_start",
    "mpq_plugins.methods.hmq": "mpq_plugins.papers.hmq",
    "mpq_plugins.methods.hmq_start": "mpq_plugins.papers.hmq_start",
    "mpq_plugins.methods.msqe": "mpq_plugins.papers.msqe",
    "mpq_plugins.methods.msqe_training": "mpq_plugins.papers.msqe_training",
    "mpq_plugins.methods.ohq": "mpq_plugins.papers.ohq",
    "mpq_plugins.methods.pairs": "mpq_plugins.papers.pairs",
    "mpq_plugins.methods.po2_gradient": "mpq_plugins.papers.po2_gradient",
    "mpq_plugins.methods.sdq": "mpq_plugins.papers.sdq",
    "mpq_plugins.methods.shares": "mpq_plugins.papers.shares",
    "mpq_plugins.methods.slices": "mpq_plugins.papers.slices",
    "mpq_plugins.methods.total_activations": "mpq_plugins.papers.total_activations",
    "mpq_plugins.moments": "mpq_plugins.rounding.moments.layer_moments",
    "mpq_plugins.ops": "mpq_plugins.array_ops.reference",
    "mpq_plugins.pareto": "mpq_plugins.allocation.pareto",
    "mpq_plugins.plugins": "mpq_plugins.plugins.plugin_host",
    "mpq_plugins.problem": "mpq_plugins.search_input",
    "mpq_plugins.progress": "mpq_plugins.terminal.progress",
    "mpq_plugins.ratings": "mpq_plugins.sensitivity.ratings",
    "mpq_plugins.recipe": "mpq_plugins.recipe.recipe",
    "mpq_plugins.recipe_file.first_schema": "mpq_plugins.recipe.first_schema",
    "mpq_plugins.recipe_file.float_part": "mpq_plugins.recipe.float_part",
    "mpq_plugins.recipe_file.parsing": "mpq_plugins.recipe.parsing",
    "mpq_plugins.recipe_file.recipe_json": "mpq_plugins.recipe.recipe_json",
    "mpq_plugins.recipe_file.recipe_table": "mpq_plugins.recipe.recipe_table",
    "mpq_plugins.refused_targets": "mpq_plugins.hardware.refused_targets",
    "mpq_plugins.regularizers": "mpq_plugins.training.regularizers",
    "mpq_plugins.renamed": "mpq_plugins.deprecation.arguments",
    "mpq_plugins.request": "mpq_plugins.search.request",
    "mpq_plugins.rounding": "mpq_plugins.rounding.compensated",
    "mpq_plugins.saturation": "mpq_plugins.hardware.saturation",
    "mpq_plugins.schedules": "mpq_plugins.training.schedules",
    "mpq_plugins.schema": "mpq_plugins.stored.schema",
    "mpq_plugins.sensitivities.divergence": "mpq_plugins.sensitivity.divergence",
    "mpq_plugins.sensitivities.masking": "mpq_plugins.sensitivity.masking",
    "mpq_plugins.sensitivities.noise": "mpq_plugins.sensitivity.noise",
    "mpq_plugins.sensitivities.rating": "mpq_plugins.sensitivity.rating",
    "mpq_plugins.sensitivities.second_order": "mpq_plugins.builtin.second_order",
    "mpq_plugins.sensitivities.table": "mpq_plugins.sensitivity.table",
    "mpq_plugins.sensitivity": "mpq_plugins.sensitivity.formulas",
    "mpq_plugins.shared_grids": "mpq_plugins.thresholds.shared_grids",
    "mpq_plugins.silence": "mpq_plugins.terminal.silence",
    "mpq_plugins.site_grid": "mpq_plugins.recipe.site_grid",
    "mpq_plugins.solving.choices": "mpq_plugins.allocation.choices",
    "mpq_plugins.solving.highs": "mpq_plugins.allocation.highs",
    "mpq_plugins.solving.knapsack": "mpq_plugins.allocation.knapsack",
    "mpq_plugins.solving.reasons": "mpq_plugins.allocation.reasons",
    "mpq_plugins.solving.solver": "mpq_plugins.allocation.solver",
    "mpq_plugins.study.exporting": "mpq_plugins.workspace.exporting",
    "mpq_plugins.study.ratings_file": "mpq_plugins.workspace.ratings_file",
    "mpq_plugins.study.snapshot": "mpq_plugins.workspace.snapshot",
    "mpq_plugins.study.study": "mpq_plugins.workspace.study",
    "mpq_plugins.surrogates": "mpq_plugins.array_ops.surrogates",
    "mpq_plugins.targets": "mpq_plugins.hardware.target",
    "mpq_plugins.thresholds": "mpq_plugins.thresholds.search",
    "mpq_plugins.translation": "mpq_plugins.recipe.translation",
    "mpq_plugins.verification": "mpq_plugins.recipe.verification",
    "mpq_tfmot.attention": "mpq_tfmot.reader.attention_layer",
    "mpq_tfmot.batches": "mpq_tfmot.calibration.batches",
    "mpq_tfmot.best": "mpq_tfmot.training.best",
    "mpq_tfmot.commands": "mpq_tfmot.plugin.commands",
    "mpq_tfmot.conformance": "mpq_tfmot.plugin.conformance",
    "mpq_tfmot.emission": "mpq_tfmot.training.emission",
    "mpq_tfmot.equalized": "mpq_tfmot.calibration.equalized",
    "mpq_tfmot.exports": "mpq_tfmot.plugin.exports",
    "mpq_tfmot.fixed_grid": "mpq_tfmot.training.fixed_grid",
    "mpq_tfmot.hardening": "mpq_tfmot.training.hardening",
    "mpq_tfmot.hosted": "mpq_tfmot.training.hosted",
    "mpq_tfmot.latency": "mpq_tfmot.latency.measure",
    "mpq_tfmot.layer_noise": "mpq_tfmot.plugin.layer_noise",
    "mpq_tfmot.litert_device": "mpq_tfmot.latency.litert_device",
    "mpq_tfmot.method_config": "mpq_tfmot.training.method_config",
    "mpq_tfmot.observation": "mpq_tfmot.training.observation",
    "mpq_tfmot.ops": "mpq_tfmot.array_ops.ops",
    "mpq_tfmot.quantize_config": "mpq_tfmot.training.quantize_config",
    "mpq_tfmot.quantizers": "mpq_tfmot.training.quantizers",
    "mpq_tfmot.runner": "mpq_tfmot.runner.tensorflow_runner",
    "mpq_tfmot.scheme": "mpq_tfmot.training.scheme",
    "mpq_tfmot.search_callback": "mpq_tfmot.training.search_callback",
    "mpq_tfmot.search_session": "mpq_tfmot.training.search_session",
    "mpq_tfmot.sensitivities": "mpq_tfmot.calibration.sensitivities",
    "mpq_tfmot.simulated": "mpq_tfmot.simulation.simulated_model",
    "mpq_tfmot.synthetic": "mpq_tfmot.calibration.synthetic",
    "mpq_tfmot.tensor_bank": "mpq_tfmot.training.tensor_bank",
    "mpq_tfmot.wrapper": "mpq_tfmot.training.wrapper",
    "mpq_torch.arithmetic": "mpq_torch.runner.arithmetic",
    "mpq_torch.aten_names": "mpq_torch.reader.aten_names",
    "mpq_torch.attention": "mpq_torch.modules.attention",
    "mpq_torch.batches": "mpq_torch.calling.batches",
    "mpq_torch.calling": "mpq_torch.calling.arguments",
    "mpq_torch.commands": "mpq_torch.plugin.commands",
    "mpq_torch.conformance": "mpq_torch.plugin.conformance",
    "mpq_torch.conversion": "mpq_torch.torch_ao.conversion",
    "mpq_torch.depthwise": "mpq_torch.modules.depthwise",
    "mpq_torch.engine": "mpq_torch.torch_ao.engine",
    "mpq_torch.exported_program": "mpq_torch.reader.exported_program",
    "mpq_torch.exports": "mpq_torch.plugin.exports",
    "mpq_torch.fake_quantize": "mpq_torch.training.fake_quantize",
    "mpq_torch.function_op": "mpq_torch.modules.function_op",
    "mpq_torch.grid_observers": "mpq_torch.torch_ao.grid_observers",
    "mpq_torch.kernel_forms": "mpq_torch.torch_ao.kernel_forms",
    "mpq_torch.latency": "mpq_torch.latency.measure",
    "mpq_torch.layer_noise": "mpq_torch.plugin.layer_noise",
    "mpq_torch.mixture": "mpq_torch.array_ops.mixture",
    "mpq_torch.observers": "mpq_torch.torch_ao.observers",
    "mpq_torch.ops": "mpq_torch.array_ops.ops",
    "mpq_torch.padded": "mpq_torch.modules.padded",
    "mpq_torch.qconfig": "mpq_torch.torch_ao.qconfig",
    "mpq_torch.reader.own_copy": "mpq_torch.calling.own_copy",
    "mpq_torch.recurrent": "mpq_torch.modules.recurrent",
    "mpq_torch.rounding_function": "mpq_torch.array_ops.rounding_function",
    "mpq_torch.rounding_passes": "mpq_torch.array_ops.rounding_passes",
    "mpq_torch.runner": "mpq_torch.runner.torch_runner",
    "mpq_torch.sensitivities": "mpq_torch.calibration.sensitivities",
    "mpq_torch.simulated_model": "mpq_torch.simulation.simulated_model",
    "mpq_torch.slicing": "mpq_torch.runner.slicing",
    "mpq_torch.spelled": "mpq_torch.reader.spelled",
    "mpq_torch.subpixel": "mpq_torch.modules.subpixel",
    "mpq_torch.surroundings": "mpq_torch.calling.surroundings",
    "mpq_torch.synthetic": "mpq_torch.calibration.synthetic",
    "mpq_torch.torch_ao": "mpq_torch.torch_ao.framework",
    "mpq_torch.torch_device": "mpq_torch.latency.torch_device",
    "mpq_torch.transformer": "mpq_torch.modules.transformer",
    "mpq_torch.verification": "mpq_torch.simulation.verification",
    "mpq_torch.written_modules": "mpq_torch.modules.written",
}
"""Old path: new path. Kept for two minor releases (docs/versions.md)."""


class MovedModules(MetaPathFinder):
    """The last finder that Python asks: nothing has the module, and if it is one that moved, this says where to."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Raises ModuleNotFoundError for an old path; None for every other name."""
        if name in MOVED:
            _moved(name)


def _moved(name: str) -> NoReturn:
    raise ModuleNotFoundError(f"{name} has moved: import it from {MOVED[name]}", name=name)


def watch() -> None:
    """Let imports of old paths say the new ones, from now on."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())


def names_of(room: str) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of a room that was a module: what its names were asked for by, it says where they are."""

    def absent(name: str) -> NoReturn:
        if not name.startswith("__") and hasattr(importlib.import_module(MOVED[room]), name):
            raise ImportError(f"{room}.{name} has moved: import it from {MOVED[room]}", name=name)
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return absent
