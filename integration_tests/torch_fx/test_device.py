"""Models on another device than the processor."""

from __future__ import annotations

import subprocess
import sys


def test_a_model_on_a_device_is_searched_rounded_trained_and_converted_as_on_the_processor() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "integration_tests.torch_fx.on_second_device"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]
