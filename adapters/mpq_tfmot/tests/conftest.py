"""Fixtures of this package's tests."""

import pytest

from mpq_plugins.plugins import PluginHost
from mpq_plugins.registry import process


@pytest.fixture
def halving(monkeypatch):
    """The method of the tests, registered for one of them."""
    from mpq_tfmot.tests import halving

    host = PluginHost()
    host.register(halving, "halving")
    monkeypatch.setattr(process, "_host", [host])
    return halving.Halving()
