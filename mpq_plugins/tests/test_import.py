"""What importing the package costs, and what it gives."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mpq_plugins
from mpq_plugins.registry.moved_modules import MOVED

ROOT = Path(mpq_plugins.__file__).parent.parent
HEAVY = ("torch", "tensorflow", "tf_keras", "scipy", "numba", "pydantic", "rich", "typer", "sklearn")


def in_fresh_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_takes_less_than_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import mpq_plugins; print(time.perf_counter() - t)"
    assert min(float(in_fresh_python(code)) for _ in range(3)) < 0.5


def test_import_loads_no_framework_and_nothing_heavy() -> None:
    loaded = json.loads(in_fresh_python("import json, sys, mpq_plugins; print(json.dumps(list(sys.modules)))"))
    assert [name for name in HEAVY if name in loaded] == []


def test_listing_all_that_is_registered_loads_no_framework() -> None:
    code = (
        "import json, sys, warnings; warnings.simplefilter('ignore'); import mpq_plugins as mpq;"
        "mpq.targets(), mpq.methods(), mpq.cost_models(), mpq.frameworks(); print(json.dumps(list(sys.modules)))"
    )
    loaded = json.loads(in_fresh_python(code))
    assert [name for name in ("torch", "tensorflow", "tf_keras", "numba") if name in loaded] == []


@pytest.mark.parametrize("name", mpq_plugins.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(mpq_plugins, name) is not None
    assert name in dir(mpq_plugins)


def test_the_names_that_a_user_types_are_public() -> None:
    typed = {"targets", "methods", "Budget", "error_table", "search_threshold", "Recipe", "MPQError", "hookimpl"}
    assert typed <= set(mpq_plugins.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'targetz'"):
        _ = mpq_plugins.targetz


def test_targets_and_methods_are_calls_beside_the_rooms() -> None:
    code = (
        "import mpq_plugins.hardware.target, mpq_plugins.papers\nimport mpq_plugins as mpq\n"
        "print('generic-po2' in mpq.targets(), 'hmq' in mpq.methods())"
    )
    assert in_fresh_python(code).split() == ["True", "True"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mpq_plugins.budget", "costs.budget"),
        ("mpq_plugins.methods.hmq", "papers"),
        ("mpq_torch.qconfig", "torch_ao.qconfig"),
    ],
)
def test_an_old_import_path_says_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"has moved: import it from .*{new}"):
        importlib.import_module(old)


def test_a_room_that_was_a_module_says_where_its_names_are() -> None:
    with pytest.raises(ImportError, match=r"has moved: import it from mpq_plugins.costs.cost_models"):
        from mpq_plugins.costs import cost_of  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'cost_off'"):
        from mpq_plugins.costs import cost_off  # noqa: F401


def test_what_moved_is_where_its_message_says() -> None:
    paths = [new.replace(".", "/") for new in MOVED.values()]
    found = [
        [(top / f"{path}.py").is_file() or (top / path).is_dir() for top in (ROOT, ROOT / "adapters")] for path in paths
    ]
    assert [path for path, there in zip(paths, found, strict=True) if not any(there)] == []
