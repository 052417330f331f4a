"""Targets: what may be said of hardware, and what the built-in ones say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins import Grid, PairSaturation, Site, Target, TargetError, UnsupportedOp, WeightGrids
from mpq_plugins.hardware.op_support import OPS
from mpq_plugins.hardware.saturation import cpuinfo_flags
from mpq_plugins.plugins import PluginHost

HOST = PluginHost(("mpq_plugins.builtin.generic", "mpq_plugins.builtin.torch_kernels"), entry_points=[], environment={})
BUILT_IN = ("generic-po2", "generic-po2-per-channel", "torch-x86", "torch-onednn", "torch-qnnpack")
TORCH = BUILT_IN[2:]
WEIGHT = Site("conv1.weight", "weight", "conv2d", (16, 3, 3, 3), 100, channel_axis=0)
ACTIVATION = Site("conv1", "activation", "conv2d", (16, 8, 8))

NPU: dict[str, Any] = {
    "name": "npu",
    "ops": {
        "*": {"activation": {"bits": [8], "unsigned": False}, "rounding": "half_up"},
        "linear": {"weight": {"bits": [8, 4], "narrow": True}, "rounding": "half_away", "bias": "float"},
        "conv2d": {"weight": {"bits": [2], "granularity": ["channel", "tensor"], "power_of_two": False}},
        "max_pool": {"keeps_input_grid": True},
    },
}


def bits_of(candidates: Any) -> list[int]:
    return [candidate.bits for candidate in candidates]


# --- defaults and overrides ---------------------------------------------------------------------------


def test_an_op_takes_what_it_says_and_the_rest_from_the_star() -> None:
    npu = Target(**NPU)
    assert (npu.rounding("linear"), npu.rounding("add")) == ("half_away", "half_up")
    assert (npu.bias("linear"), npu.bias("conv2d")) == ("float", "accumulator")
    assert bits_of(npu.activation_candidates("linear", signed=True)) == [8]
    assert (npu.keeps_input_grid("max_pool"), npu.keeps_input_grid("add")) == (True, False)


def test_candidates_are_ordered_and_say_what_kind_of_grid_they_are() -> None:
    linear = Target(**NPU).weight_candidates("linear")
    assert [(c.bits, c.signed, c.per_channel, c.narrow) for c in linear] == [
        (4, True, False, True),
        (8, True, False, True),
    ]
    assert [(c.bits, c.per_channel, c.power_of_two) for c in Target(**NPU).weight_candidates("conv2d")] == [
        (2, False, False),
        (2, True, False),
    ]


def test_values_that_are_never_negative_get_signed_grids_where_there_are_no_others() -> None:
    assert all(c.signed for c in Target(**NPU).activation_candidates("relu", signed=False))


def test_an_op_of_a_vendors_own_is_as_good_as_any() -> None:
    vendor = Target(name="npu", ops={"acme_mix": {"activation": {"bits": [6]}}})
    assert bits_of(vendor.activation_candidates("acme_mix", signed=False)) == [6]


def test_an_op_that_is_not_listed_is_refused_unless_there_is_a_star() -> None:
    with pytest.raises(UnsupportedOp, match="target 'npu' does not run conv2d; it runs linear"):
        Target(name="npu", ops={"linear": {}}).weight_candidates("conv2d")


def test_an_op_without_a_grid_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="'npu' has no grid for the weight of add"):
        Target(**NPU).weight_candidates("add")
    with pytest.raises(UnsupportedOp, match="has no grid for the output of linear"):
        Target(name="npu", ops={"linear": {}}).activation_candidates("linear", signed=True)


def test_negative_values_on_hardware_without_signed_grids_are_refused() -> None:
    unsigned = Target(name="npu", ops={"*": {"activation": {"bits": [8], "signed": False}}})
    with pytest.raises(UnsupportedOp, match="only unsigned grids for the output of add, and its values go below zero"):
        unsigned.activation_candidates("add", signed=True)


# --- check --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "grid", "reason"),
    [
        (WEIGHT, Grid.power_of_two(9, 0), "the bits may be 2, 3, 4, 5, 6, 7, 8"),
        (WEIGHT, Grid(4, (0.3,)), "steps must be powers of two"),
        (WEIGHT, Grid.power_of_two(4, [0] * 16, axis=0), "it has one step per tensor"),
        (WEIGHT, Grid.power_of_two(4, 0, signed=False), "weights are signed"),
        (ACTIVATION, Grid.power_of_two(4, [0] * 16, axis=0), "activations have one step"),
    ],
)
def test_a_grid_that_the_hardware_lacks_is_refused_by_site_and_reason(site: Site, grid: Grid, reason: str) -> None:
    target = HOST.target("generic-po2")
    with pytest.raises(TargetError, match=rf"site '{site.name}': target 'generic-po2' has no grid of .*: {reason}"):
        target.check(site, grid)
    assert not target.allows(site, grid)


def test_channels_lie_along_the_weights_output_axis() -> None:
    target, grid = HOST.target("generic-po2-per-channel"), Grid.power_of_two(4, [0] * 3, axis=1)
    with pytest.raises(TargetError, match="the output channels lie along axis 0"):
        target.check(WEIGHT, grid)
    assert target.allows(WEIGHT, Grid.power_of_two(4, [0] * 16, axis=0))


def test_narrow_hardware_refuses_the_lowest_code() -> None:
    site = Site("fc.weight", "weight", "linear", (2, 3), 6, channel_axis=0)
    assert Target(**NPU).allows(site, Grid.power_of_two(4, 0, narrow=True))
    assert not Target(**NPU).allows(site, Grid.power_of_two(4, 0))


def test_signedness_of_activations_is_checked() -> None:
    assert not Target(**NPU).allows(ACTIVATION, Grid.power_of_two(8, 0, signed=False))


def test_an_unsupported_op_is_refused_by_site() -> None:
    with pytest.raises(UnsupportedOp, match="site 'mix': target 'torch-x86' does not run acme_mix"):
        HOST.target("torch-x86").check(Site("mix", "activation", "acme_mix", (3,)), Grid.power_of_two(8, 0))


@given(
    name=st.sampled_from(BUILT_IN),
    op=st.sampled_from(["conv2d", "depthwise_conv1d", "linear"]),
    exponent=st.integers(-20, 20),
    signed=st.booleans(),
)
def test_every_candidate_of_a_target_is_allowed_by_it(name: str, op: str, exponent: int, signed: bool) -> None:
    target = HOST.target(name)
    weight = Site("w", "weight", op, (5, 4), 20, channel_axis=0)
    for candidate in target.weight_candidates(op, vnni=True):
        per_channel = candidate.per_channel
        target.check(weight, candidate.grid([exponent] * 5 if per_channel else exponent, 0 if per_channel else None))
    for candidate in target.activation_candidates(op, signed):
        assert candidate.signed == signed
        target.check(Site("a", "activation", op, (5,), signed=signed), candidate.grid(exponent))


# --- the built-in targets -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("op", OPS)
def test_every_built_in_target_runs_every_op_at_2_to_8_bits(name: str, op: str) -> None:
    target = HOST.target(name)
    for signed in (True, False):
        assert bits_of(target.activation_candidates(op, signed)) == [2, 3, 4, 5, 6, 7, 8]
    if "conv" in op or op == "linear":
        assert sorted(set(bits_of(target.weight_candidates(op, vnni=True)))) == [2, 3, 4, 5, 6, 7, 8]


def test_granularity_is_in_the_name_of_generic_targets_and_open_on_torch() -> None:
    def kinds(name: str, op: str = "conv2d") -> set[bool]:
        return {candidate.per_channel for candidate in HOST.target(name).weight_candidates(op)}

    assert kinds("generic-po2") == kinds("generic-po2-narrow") == {False}
    assert kinds("generic-po2-per-channel") == {True}
    assert all(kinds(name) == {False, True} for name in TORCH)
    assert all(kinds(name, "conv_transpose2d") == {False} for name in TORCH)


def test_one_generic_target_has_narrow_weights_and_refuses_others() -> None:
    target = HOST.target("generic-po2-narrow")
    assert {c.narrow for c in target.weight_candidates("linear")} == {True}
    assert not any(c.narrow for c in target.activation_candidates("linear", True))
    target.check(WEIGHT, Grid.power_of_two(4, 0, narrow=True))
    with pytest.raises(TargetError, match="weights are narrow"):
        target.check(WEIGHT, Grid.power_of_two(4, 0))


# Measured on the kernels themselves: (x86 and onednn, qnnpack).
ROUNDING = {
    "input": ("half_even", "half_even"),
    "conv2d": ("half_even", "half_even"),
    "depthwise_conv2d": ("half_even", "half_even"),
    "linear": ("half_even", "half_even"),
    "add": ("half_even", "half_away"),
    "mul": ("half_even", "half_even"),
    "hardswish": ("half_even", "half_even"),
    "concat": ("half_even", "half_even"),
    "avg_pool": ("half_even", "half_even"),
    "global_avg_pool": ("half_even", "half_even"),
}


@pytest.mark.parametrize("op", ROUNDING)
def test_torch_targets_round_as_torchs_kernels_do(op: str) -> None:
    x86, qnnpack = ROUNDING[op]
    assert HOST.target("torch-x86").rounding(op) == HOST.target("torch-onednn").rounding(op) == x86
    assert HOST.target("torch-qnnpack").rounding(op) == qnnpack
    assert HOST.target("generic-po2").rounding(op) == "half_even"


@pytest.mark.parametrize("name", BUILT_IN)
def test_pooling_concat_and_moving_ops_stay_on_their_inputs_grid(name: str) -> None:
    kept = {op for op in OPS if HOST.target(name).keeps_input_grid(op)}
    assert {"concat", "max_pool", "avg_pool", "global_avg_pool", "reshape", "pad"} <= kept
    assert not {"input", "conv2d", "linear", "add", "mul", "hardswish"} & kept


def test_only_qnnpack_rounds_biases_among_torchs_engines() -> None:
    assert [HOST.target(name).bias("conv2d") for name in TORCH] == ["float", "float", "accumulator"]
    assert HOST.target("generic-po2").bias("linear") == "accumulator"


def test_torch_targets_name_their_engine() -> None:
    assert [HOST.target(name).runtime.engine for name in TORCH] == ["x86", "onednn", "qnnpack"]  # type: ignore[union-attr]


# --- saturation -----------------------------------------------------------------------------------------


def worst_pair_sum(weight_bits: int, activation_bits: int, signed: bool) -> int:
    """The largest sum of two products, over the codes as they are stored: unsigned, the lowest as 0."""
    codes = Grid.power_of_two(activation_bits, 0, signed)
    stored = [code - codes.low for code in (codes.low, codes.high)]
    weights = Grid.power_of_two(weight_bits, 0)
    products = [a * w for a in stored for w in (weights.low, weights.high)]
    return max(abs(one + other) for one, other in itertools.product(products, repeat=2))


@given(st.integers(2, 8), st.integers(2, 8), st.booleans())
def test_saturation_is_said_of_exactly_the_pairs_that_pass_32767(weight: int, activation: int, signed: bool) -> None:
    expected = worst_pair_sum(weight, activation, signed)
    assert PairSaturation().largest_sum(weight, activation) == expected
    assert PairSaturation().saturates(weight, activation) == (expected > 32767)


def test_without_vnni_8_bit_weights_are_no_candidates_on_x86() -> None:
    for name in ("torch-x86", "torch-onednn"):
        target = HOST.target(name)
        assert set(bits_of(target.weight_candidates("conv2d", vnni=False))) == set(range(2, 8))
        assert set(bits_of(target.weight_candidates("conv2d", vnni=True))) == set(range(2, 9))
    assert 8 in bits_of(HOST.target("torch-qnnpack").weight_candidates("conv2d", vnni=False))


def test_what_would_saturate_is_refused_with_the_numbers_and_a_width_that_works() -> None:
    target, weight = HOST.target("torch-x86"), Grid.power_of_two(8, 0)
    narrower, signed = Grid.power_of_two(7, 0), Grid.power_of_two(8, 0)
    target.check_products("conv1.weight", weight, narrower, vnni=False)
    target.check_products("conv1.weight", weight, signed, vnni=True)
    with pytest.raises(TargetError, match=r"site 'conv1.weight': 8-bit .* to 65280, past the 32767 .* at most 7 bits"):
        target.check_products("conv1.weight", weight, signed, vnni=False)


def test_on_the_x86_engine_only_avx512_vnni_lifts_the_limit() -> None:
    assert HOST.target("torch-x86").saturation.applies(frozenset({"x86", "avx_vnni"}))  # type: ignore[union-attr]
    assert not HOST.target("torch-onednn").saturation.applies(frozenset({"x86", "avx_vnni"}))  # type: ignore[union-attr]


def test_a_target_without_the_limit_refuses_no_products() -> None:
    full = Grid.power_of_two(8, 0)
    HOST.target("torch-qnnpack").check_products("w", full, full, vnni=False)
    HOST.target("generic-po2").check_products("w", full, full, vnni=False)


@pytest.mark.parametrize(
    ("flags", "limited"),
    [
        ({"x86", "avx2"}, True),
        ({"x86", "avx2", "avx_vnni"}, False),
        ({"x86", "avx512_vnni"}, False),
        ({"asimd"}, False),
    ],
)
def test_the_limit_belongs_to_x86_processors_without_vnni(flags: set[str], limited: bool) -> None:
    assert PairSaturation().applies(frozenset(flags)) is limited


def test_flags_are_read_from_cpuinfo() -> None:
    assert cpuinfo_flags("processor\t: 0\nflags\t\t: fpu avx512_vnni\n\nprocessor\t: 1\nflags\t\t: x\n") == {
        "fpu",
        "avx512_vnni",
    }
    assert cpuinfo_flags("Features : asimd") == set()


# --- JSON -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_targets_survive_their_json(name: str, tmp_path: Path) -> None:
    target, path = HOST.target(name), tmp_path / "target.json"
    target.save(path)
    assert Target.load(path) == target
    assert HOST.target(path) == HOST.target(str(path)) == target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "My NPU"}, "name: .*'My NPU'"),
        ({"colour": "red"}, "colour: there is no such field"),
        ({"ops": {}}, "ops: "),
        ({"ops": {" ": {}}}, "ops: an op needs a name"),
        ({"ops": {"*": {"rounding": "up"}}}, r"ops\.\*\.rounding: .*'half_even', 'half_up' or 'half_away', got 'up'"),
        ({"ops": {"*": {"weight": {"bits": []}}}}, r"ops\.\*\.weight\.bits: "),
        ({"ops": {"*": {"weight": {"bits": ["4"]}}}}, r"ops\.\*\.weight\.bits\.0: .* got '4'"),
        ({"ops": {"*": {"weight": {"bits": [0]}}}}, r"bits must be from 1 to 16, got \[0\]"),
        ({"ops": {"*": {"weight": {"bits": 4}}}}, r"ops\.\*\.weight\.bits: .* got 4"),
        ({"runtime": {"framework": "torch"}}, r"runtime\.engine: this field is missing"),
        ({"schema_version": 0}, "schema_version: "),
    ],
)
def test_a_malformed_target_is_refused_by_field_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        Target(**{**NPU, **change})
    with pytest.raises(TargetError, match=rf"(?s)npu\.json is no valid target: .*{message}"):
        Target.from_json(json.dumps({**NPU, **change}), "npu.json")


def test_parts_of_a_target_are_checked_alone_too() -> None:
    with pytest.raises(TargetError, match=r"bits must be from 1 to 16, got \(2, 17\)"):
        WeightGrids(bits=(2, 17))


def test_many_problems_are_named_up_to_five() -> None:
    with pytest.raises(TargetError, match="and 2 more"):
        Target(**NPU, **{f"extra{i}": i for i in range(7)})


def test_a_newer_schema_is_refused_by_its_number() -> None:
    with pytest.raises(TargetError, match=r"npu\.json has schema 2, .* reads 1; upgrade mpq-plugins"):
        Target.from_json(json.dumps({**NPU, "schema_version": 2, "novelty": True}), "npu.json")


def test_a_file_that_is_no_json_or_is_not_there_is_refused_by_path(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TargetError, match=r"broken\.json is no valid target: "):
        Target.load(tmp_path / "broken.json")
    with pytest.raises(TargetError, match=r"cannot read the target .*none\.json: No such file"):
        HOST.target(str(tmp_path / "none.json"))


def test_a_target_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Target(**NPU).name = "other"  # type: ignore[misc]


# --- by name --------------------------------------------------------------------------------------------


def test_a_target_is_found_by_name_or_is_itself() -> None:
    target = HOST.target("torch-x86")
    assert HOST.target(target) is target


def test_an_unknown_target_names_the_closest_and_all() -> None:
    with pytest.raises(TargetError, match=r"no target 'torch-x68'; closest are torch-x86.* registered are generic-po2"):
        HOST.target("torch-x68")


def test_fbgemm_is_refused_by_name_with_the_reason() -> None:
    with pytest.raises(TargetError, match=r"'torch-fbgemm' is refused: .*depthwise.*use torch-x86"):
        HOST.target("torch-fbgemm")
