"""What is kept of a measured model is what was measured, and a damaged file is measured again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.rounding.moments.layer_moments import FewColumns
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.workspace import study
from mpq_plugins.workspace.command_protocol import Measured
from mpq_plugins.workspace.ratings_file import RatingsFile
from mpq_plugins.workspace.snapshot import Snapshot

SITES = [
    Site("x", "activation", "input", (3,), group="g"),
    Site("fc.weight", "weight", "linear", (2, 3), 6, 0, inputs=("x",)),
    Site("fc", "activation", "linear", (2,), inputs=("x",)),
]


class Model:
    """A measured model with numbers of its own."""

    inventory = Inventory(SITES, live=[["x", "fc"]])

    def weight(self, site: str) -> np.ndarray:
        return np.arange(6.0).reshape(2, 3) / 7

    def bias(self, site: str) -> np.ndarray:
        return np.array([0.1, -0.2])

    def covariance(self, site: str) -> np.ndarray:
        return np.eye(3)[None] / 3

    def output_fisher(self, site: str) -> np.ndarray:
        return np.array([[2.0, 0.5], [0.5, 1.0]])

    def histogram(self, site: str) -> Histogram:
        histogram = Histogram()
        histogram.update(np.array([0.3, -1.7, 0.0]) * len(site))
        return histogram

    def gradient_energy(self, site: str) -> float:
        return 0.25 * len(site)


def taken() -> Snapshot:
    return Snapshot.of(Measured(Model(), "framework 1.0"))


def test_a_snapshot_read_back_has_every_number_to_the_bit(tmp_path: Path) -> None:
    taken().save(tmp_path / "kept.npz")
    read, model = Snapshot.load(tmp_path / "kept.npz"), Model()
    assert read is not None
    assert read.inventory == model.inventory
    assert read.framework == "framework 1.0"
    for quantity in ("weight", "bias", "covariance", "output_fisher"):
        assert np.array_equal(getattr(read, quantity)("fc.weight"), getattr(model, quantity)("fc.weight"))
    for site in ("x", "fc"):
        assert read.gradient_energy(site) == model.gradient_energy(site)
        assert read.histogram(site).to_dict() == model.histogram(site).to_dict()


class Thin(Model):
    """The same with a layer of few positions."""

    def few_columns(self, site: str) -> FewColumns:
        return FewColumns(np.array([[[1.0], [2.0], [0.0]]]), np.array([[0.5, 0.0, 0.25]]))


def test_a_covariance_of_few_positions_is_kept_as_the_columns_that_it_comes_of(tmp_path: Path) -> None:
    Snapshot.of(Measured(Thin(), "framework 1.0")).save(tmp_path / "kept.npz")
    read = Snapshot.load(tmp_path / "kept.npz")
    assert read is not None
    assert "covariance/fc.weight" not in read.arrays
    few = read.few_columns("fc.weight")
    assert few is not None
    assert few.columns.tolist() == [[[1.0], [2.0], [0.0]]]
    assert few.own.tolist() == [[0.5, 0.0, 0.25]]
    assert read.covariance("fc.weight").tolist() == [[[1.5, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.25]]]


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    taken().save(tmp_path / "kept.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npz"]


def test_a_missing_cut_or_foreign_file_is_no_snapshot(tmp_path: Path) -> None:
    assert Snapshot.load(tmp_path / "none.npz") is None
    taken().save(tmp_path / "kept.npz")
    whole = (tmp_path / "kept.npz").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "foreign": b"PK\x05\x06"}.items():
        (tmp_path / name).write_bytes(content)
        assert Snapshot.load(tmp_path / name) is None, name
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    assert Snapshot.load(tmp_path / "other.npz") is None


CANDIDATES = {"fc.weight": (Candidate(2, True, True), Candidate(4, True, True)), "x": (Candidate(8, False, False),)}
RATED = {
    "fc.weight": {bits: (Grid.power_of_two(bits, [-1, 0], axis=0), loss) for bits, loss in ((2, 0.1), (4, 1 / 3))},
    "x": {8: (Grid.power_of_two(8, 1, signed=False), 0.0)},
}


def test_ratings_read_back_are_those_that_were_added(tmp_path: Path) -> None:
    file = RatingsFile(tmp_path / "ratings.jsonl")
    assert file.read(CANDIDATES) == {}
    for site, rated in RATED.items():
        file.add({site: rated}, CANDIDATES)
    assert RatingsFile(tmp_path / "ratings.jsonl").read(CANDIDATES) == RATED


def test_a_line_that_was_cut_off_costs_its_site_only(tmp_path: Path) -> None:
    file = RatingsFile(tmp_path / "ratings.jsonl")
    file.add(RATED, CANDIDATES)
    text = (tmp_path / "ratings.jsonl").read_text()
    (tmp_path / "ratings.jsonl").write_text(text[:-30])
    assert file.read(CANDIDATES) == {"fc.weight": RATED["fc.weight"]}
    file.add({"x": RATED["x"]}, CANDIDATES)
    assert file.read(CANDIDATES) == RATED


def test_ratings_of_other_candidates_do_not_count(tmp_path: Path) -> None:
    file = RatingsFile(tmp_path / "ratings.jsonl")
    file.add(RATED, CANDIDATES)
    other = {**CANDIDATES, "fc.weight": (Candidate(2, True, True),)}
    assert file.read(other) == {"x": RATED["x"]}


def test_without_a_path_nothing_is_kept() -> None:
    RatingsFile(None).add(RATED, CANDIDATES)
    assert RatingsFile(None).read(CANDIDATES) == {}


def test_the_studies_that_were_not_touched_for_longest_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "KEPT_BYTES", 250)
    for age, name in enumerate(["newest", "middle", "oldest"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "measured.npz").write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    study.drop_oldest(tmp_path, tmp_path / "newest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "newest"]
