"""A vendor's package is installed, found by its entry point, listed, and used like a built-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "mpq_acme"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with mpq-acme installed in it, offline, beside the environment and not in it."""
    source = tmp_path_factory.mktemp("source") / "mpq_acme"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--no-cache-dir", "--target", str(target)]
    done = subprocess.run([*pip, *offline, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def python(site: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def mpq(site: Path, *arguments: str, **environment: str) -> dict[str, list[str]]:
    lines = python(site, "-m", "mpq_plugins", *arguments, **environment).splitlines()
    return {line.split("\t")[0]: line.split("\t") for line in lines}


def test_the_environment_itself_does_not_have_it() -> None:
    listed = subprocess.run([sys.executable, "-m", "mpq_plugins", "plugins"], capture_output=True, text=True).stdout
    assert "acme" not in listed


def test_the_plug_in_is_listed_with_its_distribution_and_version(site: Path) -> None:
    rows = mpq(site, "plugins")
    row, op = rows["acme"], rows["acme-ops"]
    assert op[1:4] == ["mpq-acme", "3.1.4", "loaded"]
    assert row[1:4] == ["mpq-acme", "3.1.4", "loaded"]
    assert row[4] == "ACME's accelerator, its energy, and how fast it is."


def test_the_target_is_listed_beside_the_built_in_ones(site: Path) -> None:
    rows = mpq(site, "targets")
    assert rows["acme-npu"][2:4] == ["mpq-acme", "3.1.4"]
    assert rows["generic-po2"][2] == "mpq-plugins"


def test_it_can_be_left_out_by_either_variable(site: Path) -> None:
    assert "acme" not in mpq(site, "plugins", MPQ_LOAD_PLUGINS="torch")
    assert mpq(site, "plugins", MPQ_LOAD_PLUGINS="mpq-acme")["acme"][3] == "loaded"
    assert mpq(site, "plugins", MPQ_BLOCK_PLUGINS="acme")["acme"][3] == "blocked"


USE = """
import json
import mpq_plugins as mpq
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.plugins import host

target = mpq.target("acme-npu")
weight = mpq.Site("fc.weight", "weight", "linear", (2, 3), 6, channel_axis=0)
grids = [candidate.grid([0, -1], axis=0) for candidate in target.weight_candidates("linear")]
for grid in grids:
    target.check(weight, grid)
print(json.dumps({
    "bits": [grid.bits for grid in grids],
    "rounding": target.rounding("add"),
    "per_tensor": target.allows(weight, mpq.Grid.power_of_two(4, 0)),
    "energy": cost_of(mpq.cost_models()["acme_energy"], mpq.Inventory([weight]), {"fc.weight": 4}),
    "limit": mpq.Budget(other={"acme_energy": 7.5}).limits(),
    "seconds": [host().measure_latency(mpq.target(name), None) for name in ("acme-npu", "generic-po2")],
}))
"""


def test_the_target_the_cost_model_and_the_measurement_are_used_like_built_in_ones(site: Path) -> None:
    used = json.loads(python(site, "-c", USE))
    assert used == {
        "bits": [4, 8],
        "rounding": "half_up",
        "per_tensor": False,
        "energy": 0.25 * 6 * 4,
        "limit": {"acme_energy": 7.5},
        "seconds": [1e-6, None],
    }


MEASURE = """
import json
import mpq_plugins as mpq
from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.latency.model_latency import measure_model
from mpq_plugins.hardware.workload import ModelWork
from mpq_plugins.search_input import candidates_for

shapes = {"a": (8, 16), "b": (4, 8)}
sites, source = [mpq.Site("x", "activation", "input", (16,), signed=False)], "x"
for name, shape in shapes.items():
    macs = shape[0] * shape[1]
    sites += [mpq.Site(f"{name}.weight", "weight", "linear", shape, macs, 0, True, (source,)),
              mpq.Site(name, "activation", "linear", shape[:1], signed=False, inputs=(source,))]
    source = name
inventory, target = mpq.Inventory(sites), mpq.target("acme-npu")
layers = {f"{n}.weight": (mpq.Workload("linear", ((s[1],),), s[:1], s),) for n, s in shapes.items()}
clips = {n: (mpq.Workload("clip", (s[:1],), s[:1]),) for n, s in shapes.items()}
candidates = candidates_for(inventory, target)
table = measure_model(ModelWork(layers, clips), inventory, target, candidates, rounds=2, progress=False)
table.save("table.json")
loaded = mpq.LatencyTable.load("table.json", mpq.PluginHost().describe_device(target))
bits = {name: [c.bits for c in kinds] for name, kinds in candidates.items()}
losses = {name: [1.0 / b for b in options] for name, options in bits.items()}
found = allocate(inventory, bits, losses, mpq.Budget(latency_ms=0.0145), {**mpq.cost_models(), **loaded.resources()})
print(json.dumps({
    "device": dict(loaded.device.facts),
    "a.weight": {str(b): ms for b, ms in loaded.milliseconds["a.weight"].items()},
    "clip": sorted(set(loaded.milliseconds["a"].values())),
    "energy": {str(b): mj for b, mj in loaded.energy.millijoules["a.weight"].items()},
    "weights": [found.bits["a.weight"], found.bits["b.weight"]],
    "ms": found.costs["latency_ms"].value,
}))
"""


def test_the_device_measures_a_model_and_its_table_is_a_budget(site: Path, tmp_path: Path) -> None:
    used = json.loads(python(site, "-c", MEASURE, cwd=tmp_path, MPQ_CACHE_DIR=str(tmp_path / "cache")))
    assert used["device"] == {"board": "rev 2", "driver": "1.4"}
    assert used["a.weight"] == {"(4, 8)": pytest.approx(5e-3), "(8, 8)": pytest.approx(9e-3)}
    assert used["clip"] == [0.0]
    assert used["energy"] == {"(4, 8)": pytest.approx(128 * 4e-9), "(8, 8)": pytest.approx(128 * 8e-9)}
    assert sorted(used["weights"]) == [4, 8]  # both at 8 bits take 18 microseconds, one of them 14
    assert used["ms"] == pytest.approx(14e-3)
    assert len(list((tmp_path / "cache" / "latency").glob("acme-npu-*.json"))) == 1


def test_the_target_passes_the_conformance_kit(site: Path, tmp_path: Path) -> None:
    kit = ["-m", "pytest", "-q", "-p", "mpq_plugins.testing.plugin", "--pyargs", "mpq_plugins.testing"]
    said = python(site, *kit, "--mpq-target", "acme-npu", cwd=tmp_path, MPQ_LOAD_PLUGINS="acme")
    assert "8 passed" in said
