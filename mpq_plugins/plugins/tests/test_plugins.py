"""The plug-in host, with plug-ins as strangers would write them: packages with an entry point."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpq_plugins import PluginError, Target, TargetError, hookimpl
from mpq_plugins.plugins import PluginHost, PluginInfo, PluginWarning
from mpq_plugins.search.method import PostTrainingMethod, RatingMethod
from mpq_plugins.training.method import TrainingMethod

BUILTINS = ("mpq_plugins.builtin.generic", "mpq_plugins.builtin.torch_kernels", "mpq_plugins.builtin.costs")

TARGET = """
from mpq_plugins import Target, hookimpl

@hookimpl
def mpq_register_targets(register):
    register(Target(name="{name}", ops={{"*": {{"activation": {{"bits": [8]}}}}}}))
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with one entry point on the path: install("acme", source, version="1.0")."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def put(name: str, source: str, version: str = "1.0", entry: str | None = None) -> None:
        module = f"{name}_plugin"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{name}_tools-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-tools\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[mpq_plugins]\n{entry or name} = {module}\n")

    yield put
    for module in modules:
        sys.modules.pop(module, None)


def quiet_host(**options: Any) -> PluginHost:
    """A host that has loaded, its warnings swallowed."""
    host = PluginHost(**{"builtins": BUILTINS, "environment": {}, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        host.load()
    return host


def failure_of(host: PluginHost, name: str) -> str:
    return next(info.failure for info in host.plugins() if info.name == name and info.state == "failed")


def plugin(**hooks: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def a_target(name: str = "npu") -> Target:
    return Target(name=name, ops={"*": {"activation": {"bits": [8]}}})


@dataclass(frozen=True)
class Trains(TrainingMethod):
    name: str = "mine"
    summary: str = "trains grids"


@dataclass(frozen=True)
class Nothing(PostTrainingMethod):
    name: str = "mine"
    summary: str = "finds no grids"


@dataclass(frozen=True)
class Rates(RatingMethod):
    name: str = "mine"
    summary: str = "rates no grids"


@dataclass(frozen=True)
class Finds(Nothing):
    training: Any = None

    def search(self, problem: Any) -> Any:
        raise NotImplementedError


# --- what is loaded ---------------------------------------------------------------------------------


def test_built_ins_are_plug_ins_with_distribution_and_version() -> None:
    infos = {info.name: info for info in quiet_host(entry_points=[]).plugins()}
    assert set(infos) == {"builtin.generic", "builtin.torch_kernels", "builtin.costs"}
    assert {(i.distribution, i.version, i.state) for i in infos.values()} == {("mpq-plugins", "0.1.0", "loaded")}


def test_built_in_things_are_registered_by_name() -> None:
    host = quiet_host(entry_points=[])
    assert list(host.targets()) == [
        "generic-po2",
        "generic-po2-per-channel",
        "generic-po2-narrow",
        "torch-x86",
        "torch-onednn",
        "torch-qnnpack",
        "torch-pt2e",
        "torch-pt2e-x86",
    ]
    assert {"weight_bytes", "activation_bytes", "bops"} <= set(host.cost_models())


def test_the_torch_adapter_comes_through_the_entry_point_of_this_distribution() -> None:
    host = quiet_host()
    assert host.frameworks()["torch"].name == "torch"
    assert host.provider("frameworks", "torch").distribution == "mpq-plugins"


def test_an_installed_package_is_found_by_its_entry_point(install: Install) -> None:
    install("acme", '"""Acme\'s chips."""\n' + TARGET.format(name="acme-npu"), version="2.3")
    host = quiet_host()
    assert host.targets()["acme-npu"].name == "acme-npu"
    assert host.provider("targets", "acme-npu") == PluginInfo("acme", "acme-tools", "2.3", "Acme's chips.")


def test_a_host_loads_once(install: Install) -> None:
    install("once", "import sys\nsys.once = getattr(sys, 'once', 0) + 1\n" + TARGET.format(name="once"))
    calls: list[int] = []

    def count(register: Any) -> None:
        calls.append(1)

    host = quiet_host()
    host.register(plugin(mpq_register_targets=count), "counted")
    host.load()
    assert len(host.targets()) == len(host.targets())
    assert (sys.__dict__.pop("once"), calls) == (1, [1])


def test_threads_that_ask_at_once_all_see_everything(install: Install) -> None:
    install("slow", "import time\ntime.sleep(0.2)\n" + TARGET.format(name="slow-npu"))
    host = PluginHost(BUILTINS, environment={})
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append("slow-npu" in host.targets())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8


def test_a_plug_in_may_ask_for_what_is_registered_while_it_is_loaded(install: Install) -> None:
    host = PluginHost(BUILTINS, entry_points=[], environment={})
    seen: list[str] = []
    host.register(plugin(mpq_register_targets=lambda register: seen.extend(host.targets())), "curious")
    assert "generic-po2" in seen


def test_an_implementation_may_leave_out_arguments() -> None:
    host = quiet_host(entry_points=[])
    host.register(plugin(mpq_measure_latency=lambda workload: 0.5), "lazy")
    assert host.measure_latency(host.target("generic-po2"), "conv") == 0.5


def test_two_hosts_share_nothing() -> None:
    one, other = quiet_host(entry_points=[]), quiet_host(entry_points=[])
    one.register(plugin(mpq_register_targets=lambda register: register(a_target())), "mine")
    assert "npu" in one.targets()
    assert "npu" not in other.targets()


# --- choosing ---------------------------------------------------------------------------------------


def test_the_variable_restricts_discovery_to_names_of_plug_ins_or_distributions(install: Install) -> None:
    install("acme", TARGET.format(name="acme-npu"))
    install("other", TARGET.format(name="other-npu"))
    for names in ("acme", "acme-tools", "Acme_Tools", " acme , "):
        host = quiet_host(environment={"MPQ_LOAD_PLUGINS": names})
        assert {"acme-npu", "generic-po2"} <= set(host.targets())
        assert "other-npu" not in host.targets()
        assert host.frameworks() == {}


def test_an_empty_variable_discovers_nothing_and_leaves_the_built_ins(install: Install) -> None:
    install("acme", TARGET.format(name="acme-npu"))
    host = quiet_host(environment={"MPQ_LOAD_PLUGINS": ""})
    assert [info.name for info in host.plugins()] == ["builtin.generic", "builtin.torch_kernels", "builtin.costs"]


def test_a_name_that_nobody_has_is_warned_of() -> None:
    host = PluginHost(BUILTINS, environment={"MPQ_LOAD_PLUGINS": "acmee"})
    with pytest.warns(PluginWarning, match="MPQ_LOAD_PLUGINS names 'acmee'"):
        host.load()


def test_a_plug_in_is_blocked_by_name_and_listed_so(install: Install) -> None:
    install("acme", "raise RuntimeError('must not be imported')")
    host = quiet_host(environment={"MPQ_BLOCK_PLUGINS": "acme"}, blocked=["builtin.costs"])
    states = {info.name: info.state for info in host.plugins()}
    assert (states["acme"], states["builtin.costs"], states["builtin.generic"]) == ("blocked", "blocked", "loaded")
    assert host.cost_models() == {}


# --- one that fails takes nobody down ----------------------------------------------------------------

FAILURES = {
    "import error": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
    "exit at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax error": ("def broken(:", "SyntaxError"),
    "no hook": ("x = 1", "implements no hook"),
    "misspelt hook": (
        "from mpq_plugins import hookimpl\n@hookimpl\ndef mpq_register_target(register): ...",
        "mpq_register_target is no hook; did you mean mpq_register_targets?",
    ),
    "unknown argument": (
        "from mpq_plugins import hookimpl\n@hookimpl\ndef mpq_register_targets(registry): ...",
        "registry",
    ),
    "raises in a hook": (
        "from mpq_plugins import hookimpl\n@hookimpl\ndef mpq_register_methods(register): 1 / 0",
        "mpq_register_methods failed: ZeroDivisionError: division by zero",
    ),
    "exits in a hook": (
        "from mpq_plugins import hookimpl\n@hookimpl\ndef mpq_register_methods(register): raise SystemExit",
        "mpq_register_methods failed: SystemExit",
    ),
    "nonsense": (
        "from mpq_plugins import hookimpl\n@hookimpl\ndef mpq_register_targets(register): register({'name': 'x'})",
        "an object of type dict is no target",
    ),
    "malformed target": (
        "from mpq_plugins import hookimpl, Target\n@hookimpl\ndef mpq_register_targets(register):\n"
        "    register(Target(name='x', ops={'*': {'weight': {'bits': [99]}}}))",
        "ops.*.weight.bits: bits must be from 1 to 16, got [99]",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_plug_in_that_fails_is_named_and_the_others_work(case: str, install: Install) -> None:
    source, message = FAILURES[case]
    install("bad", source, version="0.9")
    install("zgood", TARGET.format(name="good-npu"))
    host = PluginHost(BUILTINS, environment={})
    with pytest.warns(PluginWarning, match="plug-in 'bad' of bad-tools 0.9 is left out"):
        host.load()
    assert message in failure_of(host, "bad")
    assert {"good-npu", "generic-po2"} <= set(host.targets())


def test_a_plug_in_that_fails_halfway_contributes_nothing(install: Install) -> None:
    half = TARGET.format(name="half-npu") + "\n@hookimpl\ndef mpq_register_methods(register): 1 / 0\n"
    measures = "\n@hookimpl\ndef mpq_measure_latency(target, workload): return 1.0\n"
    install("half", half + measures)
    host = quiet_host()
    assert "half-npu" not in host.targets()
    assert host.measure_latency(host.target("generic-po2"), None) is None


def test_a_name_that_is_taken_is_refused_with_its_owner(install: Install) -> None:
    install("acme", TARGET.format(name="torch-x86"))
    host = quiet_host()
    assert "the target 'torch-x86' is registered already, by plug-in 'builtin.torch_kernels'" in failure_of(
        host, "acme"
    )
    assert host.targets()["torch-x86"].runtime is not None


def test_the_same_name_twice_in_one_plug_in_is_refused() -> None:
    def twice(register: Any) -> None:
        register(a_target())
        register(a_target())

    with pytest.raises(PluginError, match="'npu' is registered already, by this plug-in itself"):
        quiet_host(entry_points=[]).register(plugin(mpq_register_targets=twice), "mine")


def test_two_distributions_cannot_have_plug_ins_of_one_name(install: Install) -> None:
    install("acme", TARGET.format(name="acme-npu"))
    install("rival", TARGET.format(name="rival-npu"), entry="acme")
    host = quiet_host()
    assert "there is a plug-in named 'acme' already (acme-tools 1.0)" in failure_of(host, "acme")
    assert "acme-npu" in host.targets()
    assert "rival-npu" not in host.targets()


def test_a_failed_plug_in_is_mentioned_where_its_target_is_missed(install: Install) -> None:
    install("acme", "import no_such_module_anywhere")
    with pytest.raises(TargetError, match="these plug-ins failed and are left out: acme"):
        quiet_host().target("acme-npu")


# --- what may be registered ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "arguments", "message"),
    [
        (
            "mpq_register_methods",
            (SimpleNamespace(name="mine", search=len),),
            "an object of a subclass of PostTraining",
        ),
        ("mpq_register_methods", (Trains,), "an object of a subclass of PostTraining"),
        ("mpq_register_methods", (Trains(summary=" "),), "needs a summary"),
        ("mpq_register_methods", (Trains(name="two words"),), "needs a name .* has 'two words'"),
        ("mpq_register_methods", (Nothing(),), "overrides neither PostTrainingMethod.search nor"),
        ("mpq_register_methods", (Rates(),), "does not override RatingMethod.rate_group"),
        ("mpq_register_methods", (Finds(training=3),), "its training is no TrainingMethod, and a int"),
        ("mpq_register_sensitivities", (SimpleNamespace(name="mine"),), r"needs rate\(problem, sites\)"),
        ("mpq_register_cost_models", ("energy", SimpleNamespace(unit="pJ")), "needs rows"),
        ("mpq_register_cost_models", ("energy", SimpleNamespace(rows=len)), "needs a unit"),
        ("mpq_register_cost_models", ("", SimpleNamespace(unit="pJ", rows=len)), "needs a name"),
        ("mpq_register_frameworks", (SimpleNamespace(name="jax", available=bool),), r"needs load\(\)"),
        ("mpq_register_targets", (Target,), "the class Target is no target"),
    ],
)
def test_nonsense_is_refused_with_what_is_wrong(hook: str, arguments: tuple[Any, ...], message: str) -> None:
    offered = plugin(**{hook: lambda register: register(*arguments)})
    with pytest.raises(PluginError, match=message):
        quiet_host(entry_points=[]).register(offered, "mine")


def test_each_hook_collects_what_it_is_given() -> None:
    host, model = quiet_host(entry_points=[]), SimpleNamespace(unit="pJ", rows=len)
    framework = SimpleNamespace(name="jax", available=bool, load=dict)
    measure = SimpleNamespace(name="mine", rate=len)
    host.register(
        plugin(
            mpq_register_targets=lambda register: register(a_target()),
            mpq_register_methods=lambda register: register(Trains()),
            mpq_register_cost_models=lambda register: register("energy", model),
            mpq_register_frameworks=lambda register: register(framework),
            mpq_register_sensitivities=lambda register: register(measure),
        ),
        "all",
    )
    assert host.methods()["mine"].kind == host.method("mine").kind == "training"
    assert host.cost_models()["energy"] is model
    assert host.frameworks() == {"jax": framework}
    assert host.sensitivity("mine") is measure
    assert host.provider("cost_models", "energy").name == "all"


# --- asking -------------------------------------------------------------------------------------------


def test_an_unknown_method_names_the_closest() -> None:
    host = quiet_host(entry_points=[])
    host.register(plugin(mpq_register_methods=lambda register: register(Finds(name="msqe"))), "mine")
    with pytest.raises(PluginError, match="there is no method 'mqse'; closest are msqe"):
        host.method("mqse")


def test_the_last_registered_measures_first_and_none_passes_on() -> None:
    host = quiet_host(entry_points=[])
    host.register(plugin(mpq_measure_latency=lambda target: 1.0), "first")
    host.register(plugin(mpq_measure_latency=lambda target: 2.0 if target.name == "torch-x86" else None), "second")
    assert host.measure_latency(host.target("torch-x86"), None) == 2.0
    assert host.measure_latency(host.target("generic-po2"), None) == 1.0


def test_nobody_measures_gives_none() -> None:
    assert quiet_host(entry_points=[]).measure_latency(a_target(), None) is None


@pytest.mark.parametrize("answer", [0.0, -1.0, float("nan"), float("inf"), "fast", True])
def test_a_latency_that_is_no_duration_is_refused_by_plug_in(answer: Any) -> None:
    host = quiet_host(entry_points=[])
    host.register(plugin(mpq_measure_latency=lambda: answer), "clock")
    with pytest.raises(PluginError, match="plug-in 'clock' measured"):
        host.measure_latency(a_target(), None)


def test_a_measurement_that_fails_names_the_plug_in() -> None:
    host = quiet_host(entry_points=[])
    host.register(plugin(mpq_measure_latency=lambda: 1 / 0), "clock")
    with pytest.raises(PluginError, match="plug-in 'clock' failed to measure latency: ZeroDivisionError"):
        host.measure_latency(a_target(), None)


def test_what_a_plugin_prints_while_it_is_imported_goes_to_standard_error(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install(
        "loud", 'import os\nprint("ACME SDK v3")\nos.write(1, b"of its library\\n")\n' + TARGET.format(name="loud-npu")
    )
    assert "loud-npu" in quiet_host().targets()
    shown = capfd.readouterr()
    assert (shown.out, sorted(shown.err.splitlines())) == ("", ["ACME SDK v3", "of its library"])
