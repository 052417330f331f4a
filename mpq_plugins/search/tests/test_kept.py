"""Values of nodes in memory and in files come back as they went in, and files stay no longer than their node."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.search.kept import Kept


class Arrays:
    """NumPy in place of a framework."""

    numpy = tensor = staticmethod(np.asarray)


def drawn(chunks, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(3, 2, 5)).astype(dtype).transpose(0, 2, 1) for _ in range(chunks)]


@pytest.mark.parametrize("limit", [0, 130, 10**6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_come_back_bit_for_bit_wherever_they_were(limit, dtype):
    values, kept = drawn(4, dtype), Kept(Arrays, limit)
    kept.add("a", iter(values))
    kept.add("b", [-v for v in values])
    for index, (a, b, value) in enumerate(zip(kept.every("a"), kept.every("b"), values, strict=True)):
        assert a.dtype == dtype
        assert np.array_equal(a, value)
        assert np.array_equal(b, -value)
        assert np.array_equal(kept.of("a", index), value)
    assert kept.elements("a") == 4 * 30


def test_memory_of_a_dropped_node_is_free_for_the_next():
    kept = Kept(Arrays, limit=480)
    kept.add("a", drawn(4))
    kept.drop("a")
    assert "a" not in kept
    kept.add("b", drawn(4))
    assert not kept._files


def test_what_is_no_tensor_stays_as_it_is():
    kept = Kept(Arrays, limit=0)
    kept.add("pair", [(1, "two")])
    assert kept.of("pair", 0) == (1, "two")


def test_a_full_disk_names_the_node_and_the_way_out(monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(TooLittleMemory, match=r"values of 'conv' fit neither .* No space left .* set TMPDIR"):
        Kept(Arrays, limit=0).add("conv", drawn(1))
