"""What importing the package costs, and what it gives."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

import mpq_plugins

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


@pytest.mark.parametrize("first", ["import mpq_plugins.targets", "from mpq_plugins.targets import Target", "pass"])
def test_targets_is_a_module_and_a_call_in_whichever_order_they_are_imported(first: str) -> None:
    code = (
        f"import warnings; warnings.simplefilter('ignore'); {first}\nimport mpq_plugins as mpq\n"
        "print('generic-po2' in mpq.targets(), mpq.targets.Target is mpq.Target, type(mpq.methods()).__name__)"
    )
    assert in_fresh_python(code).split() == ["True", "True", "dict"]


def test_a_callable_module_is_still_a_module() -> None:
    import mpq_plugins.targets as module

    assert isinstance(module, ModuleType)
    assert module is sys.modules["mpq_plugins.targets"]
