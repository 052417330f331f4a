"""The torch adapter as the core sees it before torch is imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from mpq_plugins import PluginError
from mpq_torch.plugin import TorchFramework


def test_the_adapter_is_loaded_on_demand() -> None:
    assert TorchFramework().available()
    assert TorchFramework().load().__name__ == "mpq_torch.fx"


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not TorchFramework().available()
    with pytest.raises(PluginError, match=r"pip install 'mpq-plugins\[torch\]'"):
        TorchFramework().load()


def test_asking_whether_torch_is_there_does_not_import_it() -> None:
    code = (
        "import sys; from mpq_torch.plugin import TorchFramework as T; T().available(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
