"""References to a user's models and data: what loads, and the one sentence that everything else gets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins import LoadingError, PluginError
from mpq_plugins.workspace.loading import call_factory, load_calibration, load_model

SOURCE = """
import numpy as np
ready = [1, 2]
def number(): return 7
def nothing(): pass
def broken(): raise ValueError("no such\\n  checkpoint")
def leaves(): raise SystemExit(3)
def data(): return [np.zeros((2, 3), np.float32)]
def text(): return "data.npy"
class Maker:
    @staticmethod
    def make(): return 8
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shelf_of_models.py").write_text(SOURCE)
    (tmp_path / "half_a_module.py").write_text("import a_module_that_nobody_has\n")
    (tmp_path / "no_python.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("shelf_of_models:number", 7),
        ("shelf_of_models:ready", [1, 2]),
        ("shelf_of_models:Maker.make", 8),
        ("shelf_of_models.py:number", 7),
    ],
)
def test_a_factory_is_called_and_an_attribute_is_taken(here: Path, reference: str, value: object) -> None:
    assert call_factory(reference, "model") == value


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("shelf_of_models:", "'shelf_of_models:' is no reference to model; write package.module:factory"),
        ("shelf_of_models:numbr", "shelf_of_models has no 'numbr'; did you mean number?"),
        ("shelf_of_models:nothing", "shelf_of_models:nothing returned nothing; it should return the model"),
        ("shelf_of_models:broken", "shelf_of_models:broken failed: ValueError: no such checkpoint"),
        ("shelf_of_models:leaves", "shelf_of_models:leaves failed: SystemExit: 3"),
        ("no_such_shelf:x", "there is no module 'no_such_shelf', which no_such_shelf:x names"),
        ("no_such_shelf.py:x", "there is no file no_such_shelf.py"),
        (
            "half_a_module:x",
            "half_a_module cannot be imported: ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
        ),
    ],
)
def test_what_does_not_load_gets_one_sentence(here: Path, reference: str, sentence: str) -> None:
    with pytest.raises(LoadingError) as caught:
        call_factory(reference, "model")
    assert str(caught.value) == sentence


def test_a_module_that_is_no_python_is_named(here: Path) -> None:
    with pytest.raises(LoadingError, match=r"no_python cannot be imported: SyntaxError"):
        call_factory("no_python:f", "model")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("model.pth", r"a model is package.module:factory or a file .* \(a checkpoint holds weights and no code\)"),
        ("model.bin", r"a model is package.module:factory or a file \(.*\.keras, \.h5.*\), not 'model.bin'"),
        ("model.keras", "there is no file model.keras"),
        ("shelf_of_models:number", "shelf_of_models:number gave a int, and a .*torch.* model is needed"),
        ("shelf_of_models:Maker", "gave a Maker, and a"),
    ],
)
def test_what_is_no_model_gets_one_sentence(here: Path, reference: str, sentence: str) -> None:
    with pytest.raises(LoadingError, match=sentence):
        load_model(reference)


def test_a_misspelt_framework_gets_the_closest(here: Path) -> None:
    with pytest.raises(PluginError, match="no framework 'toch'; closest are torch"):
        load_model("shelf_of_models:number", "toch")


def test_a_file_of_another_framework_is_refused(here: Path) -> None:
    with pytest.raises(LoadingError, match=r"model.keras is a model of tfmot, not of torch"):
        load_model("model.keras", "torch")


def test_an_npy_file_is_float32_and_an_npz_file_is_one_batch_of_all_inputs(here: Path) -> None:
    np.save("one.npy", np.ones((4, 2), np.float64))
    np.savez("two.npz", image=np.zeros((4, 2)), mask=np.ones((4, 1)))
    one, two = load_calibration("one.npy"), load_calibration("two.npz")
    assert (one.dtype, one.shape) == (np.float32, (4, 2))
    assert [[array.shape for array in batch] for batch in two] == [[(4, 2), (4, 1)]]


def test_a_factory_of_data_is_taken_as_it_is(here: Path) -> None:
    assert [batch.shape for batch in load_calibration("shelf_of_models:data")] == [(2, 3)]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((4, 2), np.uint8), "holds uint8 values; save the inputs as the model takes them"),
        (np.zeros(4, np.float32), r"has the shape \(4,\); calibration data are \[samples, ...\]"),
        (np.array([{}, {}], dtype=object), "holds no plain arrays"),
    ],
    ids=["integers", "flat", "objects"],
)
def test_arrays_of_the_wrong_kind_get_one_sentence(here: Path, array: np.ndarray, sentence: str) -> None:
    np.save("data.npy", array, allow_pickle=True)
    with pytest.raises(LoadingError, match=sentence):
        load_calibration("data.npy")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("none.npy", "cannot read none.npy: No such file or directory"),
        ("images.csv", r"come from a .npy or .npz file or from package.module:factory, not from 'images.csv'"),
        ("shelf_of_models:text", "gave a str; it should give arrays, or an iterable of batches"),
        ("shelf_of_models:nothing", "returned nothing; it should return the calibration data"),
    ],
)
def test_what_is_no_data_gets_one_sentence(here: Path, reference: str, sentence: str) -> None:
    with pytest.raises(LoadingError, match=sentence):
        load_calibration(reference)


def test_inputs_with_different_numbers_of_samples_are_refused_with_both(here: Path) -> None:
    np.savez("data.npz", a=np.zeros((4, 2)), b=np.zeros((3, 2)))
    with pytest.raises(LoadingError, match=r"different numbers of samples: a \(4, 2\), b \(3, 2\)"):
        load_calibration("data.npz")


def test_a_damaged_file_is_named(here: Path) -> None:
    Path("data.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(LoadingError, match=r"data.npz holds no plain arrays"):
        load_calibration("data.npz")
