"""``mpq new-backend`` writes a package that installs, is listed, and passes its own test at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mpq_plugins.commands.cli import main

PIP = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
OFFLINE = ["--no-index", "--no-build-isolation", "--no-deps", "--no-cache-dir"]


def run(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        "MPQ_LOAD_PLUGINS": "mpq-nova",
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )


def refusal(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(("new-backend", *arguments))
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as the command writes it, named by its directory."""
    directory = tmp_path_factory.mktemp("new") / "mpq-nova"
    with pytest.raises(SystemExit) as caught:
        main(("new-backend", str(directory)))
    assert not caught.value.code
    return directory


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory beside the environment in which the package is installed, editable, offline."""
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run([*PIP, *OFFLINE, "--target", str(target), "-e", str(package)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # pip leaves a path file, which Python reads in directories of its own only
    source = next(target.glob("*.pth")).read_text().strip()
    return Path(os.pathsep.join([str(target), source]))


def test_the_package_passes_its_own_test_once_it_is_installed(package: Path, site: Path) -> None:
    done = run(site, "pytest", "-q", str(package), cwd=package.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_its_target_is_listed_with_the_package(package: Path, site: Path) -> None:
    rows = run(site, "mpq_plugins", "targets", cwd=package.parent).stdout.splitlines()
    row = next(row.split("\t") for row in rows if row.startswith("nova-npu\t"))
    assert row[2:4] == ["mpq-nova", "0.1.0"]


def test_its_op_is_registered_by_one_file(package: Path, site: Path) -> None:
    assert "mpq_register_ops" not in (package / "src" / "mpq_nova" / "plugin.py").read_text()
    rows = run(site, "mpq_plugins", "plugins", cwd=package.parent).stdout.splitlines()
    row = next(row.split("\t") for row in rows if row.startswith("nova-op\t"))
    assert row[1:4] == ["mpq-nova", "0.1.0", "loaded"]


def test_its_test_fails_with_the_reason_when_the_target_is_spoilt(package: Path, site: Path) -> None:
    file = package / "src" / "mpq_nova" / "target.json"
    text = file.read_text()
    file.write_text(text.replace('"relu": {', '"relu": {"activation": {"bits": [4]}, '))
    try:
        done = run(site, "pytest", "-q", str(package), cwd=package.parent)
    finally:
        file.write_text(text)
    assert done.returncode == 1
    assert "relu keeps its input's grid of 4 bits, and the output of input has 8" in done.stdout


def test_what_is_written_is_formatted_and_free_of_lint(package: Path) -> None:
    for check in (["check"], ["format", "--check", "--line-length", "120"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated", str(package)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_names_follow_from_the_directory_or_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("new-backend", str(tmp_path / "here"), "--name", "Zeta.Chip", "--target", "zeta-2"))
    assert "zeta-chip with the target zeta-2" in capsys.readouterr().out
    assert (tmp_path / "here" / "src" / "zeta_chip" / "plugin.py").is_file()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "is not empty; give a new directory" in refusal(str(tmp_path), capsys=capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_its_place_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mpq-nova").write_text("mine")
    assert "it is a file" in refusal(str(tmp_path / "mpq-nova"), capsys=capsys)


def test_a_directory_in_nowhere_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"there is no directory {tmp_path / 'no'}" in refusal(str(tmp_path / "no" / "mpq-nova"), capsys=capsys)


def test_a_directory_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot write /proc/mpq-nova" in refusal("/proc/mpq-nova", capsys=capsys)


@pytest.mark.parametrize("name", ["2fast", "mpq nova", "-x-", "nova!", "class", "ümlaut"])
def test_a_name_that_no_package_can_have_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(str(tmp_path / "new"), f"--name={name}", capsys=capsys)
    assert f"{name!r} is no name for a package" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name=json"], "there is a package 'json'"),
        (["--name=mpq-torch"], "there is a package 'mpq_torch'"),
        (["--name=torch-chip", "--target=torch-x86"], "there is a target 'torch-x86' already"),
        (["--name=mpq-new", "--target=No Such"], "--target No Such"),
    ],
    ids=["standard-library", "installed", "target", "target-name"],
)
def test_a_name_that_belongs_to_something_else_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(str(tmp_path / "new"), *options, capsys=capsys)
    assert not (tmp_path / "new").exists()
