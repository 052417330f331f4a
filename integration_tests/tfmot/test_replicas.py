"""tf.distribute.MirroredStrategy: every replica of a search has the same grids."""

import json
import subprocess
import sys


def test_two_replicas_end_with_the_same_grids_state_and_draws():
    command = [sys.executable, "-m", "integration_tests.tfmot.replicas"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(results) == {"hmq", "msqe"}
    for method, result in results.items():
        first, second = result["copies"]
        assert first == second
        assert first["fc.weight clock"] == [3.0]
        assert ("fc.weight state_moments" if method == "msqe" else "fc.weight parameter_logits") in first
        assert result["exact"]
        assert result["steps"] == [0, 3]
