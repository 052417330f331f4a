"""What the tests assert: that nothing differs from what is recorded."""

from __future__ import annotations

import pytest

from integration_tests.oracle import frameworks, stored
from integration_tests.oracle.comparing import differences

ADVICE = "If this was meant: python -m integration_tests.oracle.record --only"


def assert_as_recorded(framework, name):
    """Fail, naming target, kind of thing and first site, where a network computes something else."""
    recorded = stored.load(framework).get(name, {})
    _fail_with(differences(recorded, frameworks.observed(framework, name), (name,)), name)


def assert_constrained_as_recorded(framework, name):
    """The same for what ``constrain`` makes with data; skipped on another processor, which adds in another order."""
    whole = stored.load(stored.CONSTRAINED)
    if whole["processor"] != stored.processor():
        pytest.skip(f"recorded on {whole['processor']}, which adds floats in an order of its own")
    found = frameworks.constrained(framework, name)
    _fail_with(differences(whole[framework].get(name, {}), found, (name, "constrained")), name)


def _fail_with(sentences, name):
    if sentences:
        pytest.fail("\n".join([*sentences, f"{ADVICE} {name}"]), pytrace=False)
