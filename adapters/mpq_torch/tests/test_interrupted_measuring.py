"""Ctrl-C in the measuring pass ends it after the chunk, and the next pass goes on from there."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch

from mpq_plugins.graph.sites import take_sites
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search.unfinished import Interrupted
from mpq_torch.calling.batches import in_chunks
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.test_measurement import classifier


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C interrupts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_pass_that_was_interrupted_goes_on_and_measures_the_same(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, path, measure, pressed = classifier(), tmp_path / "measuring.npz", Measurements._measure, []
    reading = read_model(model, (torch.randn(2, 2, 4, 4),))
    chunks = in_chunks([(torch.randn(64, 2, 4, 4),), (torch.randn(64, 2, 4, 4),), (torch.randn(10, 2, 4, 4),)])

    def measured(kept=None):
        return Measurements(reading.graph, take_sites(reading.graph), reading.runner, chunks, False, kept=kept)

    def with_a_key_pressed(self, chunk, first, *rest):
        pressed.append(first)
        if len(pressed) == 2:
            signal.raise_signal(signal.SIGINT)
        measure(self, chunk, first, *rest)

    whole = measured()
    monkeypatch.setattr(Measurements, "_measure", with_a_key_pressed)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="128 of 138 samples are measured and kept"):
        measured(path)
    assert signal.getsignal(signal.SIGINT) is handler
    again = measured(path)
    assert pressed == [0, 64, 128]
    assert not path.exists()
    for site in ("0.weight", "2.weight", "5.weight"):
        np.testing.assert_array_equal(again.covariance(site), whole.covariance(site))
        np.testing.assert_array_equal(again.output_fisher(site), whole.output_fisher(site))
    for site in (activation.name for activation in whole.inventory.activations):
        assert again.gradient_energy(site) == whole.gradient_energy(site)
        assert again.histogram(site).to_dict() == whole.histogram(site).to_dict()


def test_a_file_that_is_damaged_is_measured_anew(tmp_path):
    path = tmp_path / "measuring.npz"
    path.write_bytes(b"nothing")
    reading = read_model(classifier(), (torch.randn(2, 2, 4, 4),))
    chunks = in_chunks([(torch.randn(3, 2, 4, 4),)])
    Measurements(reading.graph, take_sites(reading.graph), reading.runner, chunks, False, kept=path)
    assert not path.exists()
