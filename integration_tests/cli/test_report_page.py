"""The report of a real search in a real browser: no console message, tables that sort, themes, a phone's width."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from integration_tests.cli.commands import Case, invoke, invoke_json
from mpq_plugins import Recipe

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for path in map(shutil.which, BROWSERS) if path), None)
QUESTIONS = """
const table = document.querySelector("#costs table"), head = [...table.tHead.rows[0].cells].at(-1);
const column = () => [...table.tBodies[0].rows].map(row => Number(row.cells[row.cells.length - 1].dataset.sort));
const answers = {before: column()};
head.firstElementChild.click(); answers.ascending = column(); answers.said = head.getAttribute("aria-sort");
head.firstElementChild.click(); answers.descending = column();
head.firstElementChild.click(); answers.after = column();
const paper = () => getComputedStyle(document.body).backgroundColor, button = document.getElementById("theme");
answers.themes = [button.textContent];
button.click(); answers.light = paper(); answers.themes.push(button.textContent);
button.click(); answers.dark = paper(); answers.themes.push(button.textContent);
answers.width = [document.documentElement.scrollWidth, document.documentElement.clientWidth];
const note = document.createElement("p"); note.id = "answers"; note.textContent = JSON.stringify(answers);
document.body.append(note);
"""


@pytest.fixture(scope="module")
def report(case: Case, found: Path) -> Path:
    path = found / "report.html"
    invoke("pareto", *case.options, "-t", case.target, "--sweep", "weight_bytes", "--points", "3",
           "--activation-bits", "8", "-o", found / "front", "-q")  # fmt: skip
    invoke("report", found / "recipe.json", "--details", found / "details.json",
           "--pareto", found / "front" / "pareto.json", "-o", path)  # fmt: skip
    return path


def test_every_part_of_the_issue_is_in_the_report(report: Path) -> None:
    ids = set(re.findall(r'<section id="(\w+)"', report.read_text()))
    assert ids == {
        "asked", "bits", "costs", "errors", "sensitivity", "noise", "front", "reasons", "verification", "missing"
    }  # fmt: skip


def test_the_report_says_that_the_integers_are_the_simulations(report: Path) -> None:
    assert "exact: all 160 output values are equal" in report.read_text()


def test_details_worked_out_for_the_report_are_those_of_the_search(
    case: Case, found: Path, report: Path, tmp_path: Path
) -> None:
    said = invoke_json("report", found / "recipe.json", *case.options, "-o", tmp_path / "again.html")
    assert [reason.split(":")[0] for reason in said["left_out"]] == ["latency by layer", "Pareto front"]
    noise = re.compile(r'<section id="noise".*?</section>', re.DOTALL)
    first, again = (noise.search(path.read_text()) for path in (report, tmp_path / "again.html"))
    assert first is not None
    assert again is not None
    assert first.group() == again.group()


def test_the_noise_is_that_of_the_simulation(case: Case, found: Path) -> None:
    details = json.loads((found / "details.json").read_text())
    recipe = Recipe.load(found / "recipe.json")
    assert set(details["signal_to_noise"]) == {entry.site for entry in recipe.activations}
    assert details["signal_to_noise"]["fc"] == pytest.approx(_noise_of_fc(case, recipe), abs=0.01)


def _noise_of_fc(case: Case, recipe: Recipe) -> float:
    """Signal to noise of the last layer, from the models' outputs themselves."""
    import numpy as np

    from mpq_plugins.workspace.loading import load_calibration, load_model

    model, data = load_model(case.reference("model")).model, load_calibration(case.reference("calibration"))
    if case.framework == "torch":
        import torch

        from mpq_torch import fx

        simulated = fx.simulate(fx.constrain(model, recipe, data), recipe)
        with torch.no_grad():
            wanted, got = (torch.cat([m(batch) for batch in data]).double().numpy() for m in (model, simulated))
    else:
        import mpq_tfmot
        from mpq_tfmot.keras import keras

        simulated = mpq_tfmot.simulate(mpq_tfmot.constrain(model, recipe, data), recipe)
        got = np.asarray(simulated.sites(data)["fc"], np.float64)
        last = model.get_layer("fc")
        inside = keras.Model(model.inputs, last.input)(data)
        wanted = np.asarray(inside @ last.kernel + last.bias, np.float64)
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((got - wanted) ** 2)))


def browse(page: Path, *options: str) -> tuple[str, str]:
    """The page's document after its scripts, and what the browser's console said."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={page.parent / 'profile'}", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def answers(page: Path, folder: Path, width: int) -> dict[str, Any]:
    asked = folder / f"asked-{width}.html"
    asked.write_text(page.read_text().replace("</body>", f"<script>{QUESTIONS}</script></body>"))
    document, console = browse(asked, "--dump-dom", f"--window-size={width},900")
    assert console == ""
    found = re.search(r'<p id="answers">(.*?)</p>', document)
    assert found is not None
    result: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return result


needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"no browser on the path: {', '.join(BROWSERS)}")


@needs_browser
@pytest.mark.parametrize("case", ["torch"], indirect=True)
@pytest.mark.parametrize("width", [1200, 500])
def test_in_a_browser_it_sorts_changes_theme_fits_and_stays_silent(report: Path, tmp_path: Path, width: int) -> None:
    found = answers(report, tmp_path, width)
    assert found["ascending"] == sorted(found["before"])
    assert found["said"] == "ascending"
    assert found["descending"] == sorted(found["before"], reverse=True)
    assert found["after"] == found["before"]
    assert found["themes"] == ["theme: auto", "theme: light", "theme: dark"]
    assert found["light"] == "rgb(251, 251, 250)"
    assert found["dark"] == "rgb(21, 24, 29)"
    assert found["width"][0] <= found["width"][1]


@needs_browser
@pytest.mark.parametrize("case", ["torch"], indirect=True)
def test_a_page_that_did_reach_out_would_be_noticed(report: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.html"
    wrong.write_text(report.read_text().replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    _, console = browse(wrong, "--dump-dom")
    assert "Content Security Policy" in console


@needs_browser
@pytest.mark.parametrize("case", ["torch"], indirect=True)
def test_a_screenshot_has_a_picture_in_it(report: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    browse(report, f"--screenshot={shot}", "--window-size=1200,2400", "--hide-scrollbars")
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert shot.stat().st_size > 50_000  # a blank page of this size takes a tenth of it
