"""The conformance kit, as a third party runs it: what is right passes, and what is wrong fails with the reason."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins.graph.op import Op, always, never
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.testing import framework_arrays, learning_checks, op_checks, runtime_checks
from mpq_plugins.testing.nonconforming import Nonconforming
from mpq_plugins.testing.sample_slots import cases

HERE = Path(__file__).parent
KIT = [sys.executable, "-m", "pytest", "-p", "mpq_plugins.testing.plugin", "--pyargs", "mpq_plugins.testing", "-q"]
METHODS = {
    "offgrid": r"evaluation is off the grid of harden .* elements differ, the worst is",
    "anystep": r"harden gives steps that are no powers of two",
    "penal": r"the penalty within the budget \(1.2 of 3\) is 0.12, not zero",
    "dice": r"grids gives other numbers the second time",
    "growing": r"grids changes the shape of 'exponent' from \(\) to \(2, 1\)",
    "swallowing": r"start takes a weight with NaN; raise NonFiniteValues, naming the site",
    "spendthrift": r"costs 8 of average_weight_bits, and the budget is 5",
}
TARGETS = {
    "wrong-grids": r"a model's input has no grid: .*; give it one, or put one under '\*'",
    "wrong-container": r"the weight of conv1d may have 8 bits and is stored in 4 \(container_bits\)",
    "wrong-accumulator": r"takes 16 bits, and the accumulator has 12 \(accumulator_bits\)",
    "wrong-sharing": r"max_pool keeps its input's grid of 4 bits, and the output of input has 8",
    "wrong-weight": r"the weight of conv2d has no grid",
    "wrong-cost": r"cost model 'discount' falls from 42 to 40 pJ when conv1d.weight gets 4 bits instead of 2",
    "unknown-cost": r"names the cost model 'no_such', and no plug-in registers it",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wrong plug-in in it, as an installer leaves one."""
    directory = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "mpq_wrong.py", directory)
    info = directory / "mpq_wrong-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mpq-wrong\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mpq_plugins]\nwrong = mpq_wrong\n")
    return directory


def kit(site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The kit on the wrong plug-in, without any framework, from a directory of nobody's."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        "MPQ_LOAD_PLUGINS": "wrong",
    }
    return subprocess.run([*KIT, *options], capture_output=True, text=True, cwd=site, env=environment, timeout=300)


@pytest.fixture(scope="module")
def failures(site: Path) -> str:
    """What the kit says of everything that is wrong, in one run."""
    options = [f"--mpq-method={name}" for name in METHODS] + [f"--mpq-target={name}" for name in TARGETS]
    done = kit(site, *options, "--tb=short")
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", METHODS)
def test_a_wrong_method_fails_with_what_is_wrong(name: str, failures: str) -> None:
    assert re.search(f"Nonconforming: .*method '{name}'.*{METHODS[name]}", failures)


@pytest.mark.parametrize("name", TARGETS)
def test_a_wrong_target_fails_with_what_is_wrong(name: str, failures: str) -> None:
    assert re.search(f"Nonconforming: .*{TARGETS[name]}", failures)
    assert re.search(rf"FAILED \S*test_targets.py::\S+\[{name}\]", failures)


def test_a_right_method_passes(site: Path) -> None:
    done = kit(site, "--mpq-method", "right")
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "test_targets" not in done.stdout


def test_an_adapter_that_the_kit_cannot_ask_fails_with_what_it_needs(site: Path) -> None:
    done = kit(site, "--mpq-framework", "halfway")
    assert done.returncode == 1
    assert "the adapter of 'halfway' has no conformance(); let it return a module with the functions of" in done.stdout


def test_a_name_that_nobody_registered_is_refused_with_the_closest(site: Path) -> None:
    done = kit(site, "--mpq-target", "wrong-gird")
    assert done.returncode == 4
    assert "--mpq-target wrong-gird: there is no target 'wrong-gird'; closest are wrong-grids" in done.stderr


def test_a_target_of_a_file_is_taken(site: Path) -> None:
    (site / "mine.json").write_text(
        '{"schema_version": 1, "name": "mine", "ops": {"*": {"weight": {"bits": [4]}, "activation": {"bits": [8]}}}}'
    )
    done = kit(site, "--mpq-target", "mine.json")
    assert done.returncode == 0, done.stdout


# --- what needs a framework, asked in this process ---------------------------------------------------------


@pytest.fixture(scope="module")
def torch_alone() -> dict[str, object]:
    return {"torch": framework_arrays.arrays_of("torch")}


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("mpq_wrong")


def test_a_method_whose_parameters_no_gradient_reaches_is_told_so(wrong, torch_alone) -> None:
    learning_checks.check_gradients_reach(wrong.Learns(), torch_alone)
    with pytest.raises(Nonconforming, match="no gradient reaches exponent on any tensor"):
        learning_checks.check_gradients_reach(wrong.Deaf(), torch_alone)


def test_a_method_whose_gradient_has_the_wrong_sign_is_told_so(wrong, torch_alone) -> None:
    case = cases(wrong.Learns())[0]
    learning_checks.check_gradients_lead(wrong.Learns(), case, torch_alone)
    with pytest.raises(Nonconforming, match="the gradient has the wrong sign"):
        learning_checks.check_gradients_lead(wrong.Contrary(), case, torch_alone)


def of_one(value: object, **changes: object) -> Op:
    return Op("wrong", value, **{"table": True, "negative": always, **changes})


def test_a_wrong_op_is_told_what_is_wrong(torch_alone) -> None:
    with pytest.raises(Nonconforming, match=r"its value depends on the other numbers"):
        op_checks.check_values(of_one(lambda run, node, x: x - x.mean()))
    with pytest.raises(Nonconforming, match=r"op 'wrong' on 2 bits .* its value at \[-8.\] is not finite"):
        op_checks.check_values(of_one(lambda run, node, x: 1 / (x + 8.0)))
    with pytest.raises(Nonconforming, match="nothing below zero comes out"):
        op_checks.check_signs(of_one(lambda run, node, x: x - 4.0, negative=never))
    with pytest.raises(Nonconforming, match="runs in NumPy and not here"):
        op_checks.check_gradients(of_one(lambda run, node, x: np.cosh(x)), torch_alone)
    with pytest.raises(Nonconforming, match="its gradient is not its central difference"):
        op_checks.check_gradients(of_one(lambda run, node, x: run.stop_gradient(x * x)), torch_alone)
    spelled = {"torch": ("F.softsign", "nn.Tanh")}
    with pytest.raises(Nonconforming, match=r"nn\.Tanh, as torch has it, computes something else"):
        op_checks.check_spellings(of_one(lambda run, node, x: x / (1 + run.abs(x)), spellings=spelled), torch_alone)
    with pytest.raises(Nonconforming, match=r"no_such\.layers\.f, as torch has it, is not there"):
        op_checks.check_spellings(
            of_one(lambda run, node, x: x, spellings={"torch": ("no_such.layers.f",)}), torch_alone
        )


def by_numpy(run, x):
    return np.ceil(x.view())


def test_a_wrong_runtime_is_told_what_is_wrong(torch_alone) -> None:
    with pytest.raises(Nonconforming, match=r"runtime acme\.npu2: it has sums by guessing"):
        runtime_checks.check_laws(Runtime("acme", "npu2", sums="guessing"))
    with pytest.raises(Nonconforming, match="its rounding by_numpy runs in NumPy and not in torch"):
        runtime_checks.check_own_laws(Runtime("acme", "npu2", rounding={"*": by_numpy}), torch_alone)
    runtime_checks.check_own_laws(Runtime("acme", "npu2", rounding={"*": lambda run, x: -run.floor(-x)}), torch_alone)
    with pytest.raises(Nonconforming, match=r"target 'torch-x86' rounds otherwise: .*'add'"):
        runtime_checks.check_targets(Runtime("torch", "x86", rounding={"*": "half_up"}))
