"""The adapter as a plug-in: listed without importing TensorFlow, and clear when it is missing."""

import subprocess
import sys

import pytest

from mpq_plugins.errors import PluginError
from mpq_tfmot.plugin import TfmotFramework


def test_the_plugin_imports_no_tensorflow():
    code = "import sys, mpq_tfmot, mpq_tfmot.plugin; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_packages_are_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"tensorflow.*mpq-plugins\[tfmot\]"):
        TfmotFramework().load()


def test_without_tensorflow_the_first_use_says_what_to_install():
    code = (
        "import sys; sys.modules['tensorflow'] = None; import mpq_tfmot\n"
        "try:\n    mpq_tfmot.search\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "PluginError tensorflow is not installed; install with: pip install 'mpq-plugins[tfmot]'\n"


def test_the_adapter_writes_nothing_to_the_terminal():
    code = """
from mpq_tfmot import *
from mpq_tfmot.tests.networks import residual, samples
model = residual()
recipe = search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8)
verify(litert.export(model, recipe), simulate(model, recipe), samples(model))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")
