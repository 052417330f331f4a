"""The guides build without a broken link, and their code runs as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mpq_plugins.registry import process

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace = {"__name__": "page"}
    if "host().register(" in page.read_text():  # what a page registers is there for that page alone
        monkeypatch.setattr(process, "_host", [])
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), namespace)


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES) + 4
    assert "TrainingMethod" in (tmp_path / "site" / "api" / "training.html").read_text()


def test_no_page_asks_for_anything_on_the_network(tmp_path):
    for page in PAGES:
        assert not re.findall(r"<(?:script|img|link)[^>]*https?://", page.read_text()), page.name
