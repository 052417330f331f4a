"""Whatever is wrong with a file of arrays, it is one error in words, and nothing of it is run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins.stored.arrays import read_arrays


def damaged_stream(path: Path) -> None:
    np.savez_compressed(path, a=np.arange(4000, dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(byte ^ 0xFF for byte in content[60:90])
    path.write_bytes(content)


def strange_compression(path: Path) -> None:
    np.savez(path, a=np.ones((4, 9), np.float32))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)


def no_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"no npy at all")


def endless(path: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 1000)}
    np.lib.format.write_array_header_1_0(header, shape)
    path.write_bytes(header.getvalue())


def objects(path: Path) -> None:
    np.savez(path, a=np.array([{}]))


@pytest.mark.parametrize("damage", [damaged_stream, strange_compression, no_array, endless, objects])
def test_a_damaged_file_is_one_error_in_words(damage, tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    damage(path)
    with pytest.raises(ValueError, match=r"[a-z]{3}"):
        read_arrays(path)


def test_arrays_come_back_by_name_and_a_single_one_without(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.arange(3), b=np.ones(2))
    np.save(tmp_path / "one.npy", np.arange(4))
    assert {name: array.tolist() for name, array in read_arrays(tmp_path / "two.npz").items()} == {
        "a": [0, 1, 2],
        "b": [1.0, 1.0],
    }
    assert read_arrays(tmp_path / "one.npy")[""].tolist() == [0, 1, 2, 3]
