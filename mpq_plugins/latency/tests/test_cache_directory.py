"""Where measurements are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpq_plugins.latency.cache_directory import cache_directory


def test_the_variable_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "deep" / "kept"))
    assert cache_directory("models") == tmp_path / "deep" / "kept" / "models"
    assert (tmp_path / "deep" / "kept" / "models").is_dir()


def test_without_it_the_users_cache_directory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPQ_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory("models") == tmp_path / "mpq-plugins" / "models"
