"""A user's own model from the command line, in both frameworks: search, sweep, export, show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from integration_tests.cli.commands import Case, failure, invoke, invoke_json
from mpq_plugins import Budget, Recipe
from mpq_plugins.latency.cache_directory import cache_directory
from mpq_plugins.workspace.loading import load_calibration, load_model


def test_the_command_finds_the_recipe_that_the_library_finds(case: Case, found: Path) -> None:
    loaded = load_model(case.reference("model"))
    data = load_calibration(case.reference("calibration"))
    library = loaded.adapter.load().search(
        loaded.model, data, case.target, Budget(average_weight_bits=4), activation_bits=8, progress=False
    )
    assert Recipe.load(found / "recipe.json").to_json() == library.to_json()


def test_another_budget_starts_from_what_was_measured(case: Case, found: Path, tmp_path: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in cache_directory("models").rglob("*") if path.is_file()}
    said = invoke_json(*case.search, "--average-weight-bits", "3", "--activation-bits", "8", "-o", tmp_path / "r.json")
    assert said["average_weight_bits"] <= 3
    assert said["bits"] == {name: grid.bits for name, grid in Recipe.load(tmp_path / "r.json").items()}
    assert {path: path.stat().st_mtime_ns for path in cache_directory("models").rglob("*") if path.is_file()} == kept


def test_quiet_says_nothing_and_prose_says_where_the_recipe_is(case: Case, found: Path, tmp_path: Path) -> None:
    budget = ["--weight-bytes", "1000", "--activation-bits", "8", "-o", str(tmp_path / "r.json")]
    assert invoke(*case.search, *budget, "--quiet") == ""
    said = invoke(*case.search, *budget)
    assert said.startswith("site ")
    assert said.endswith(f"the recipe is in {tmp_path / 'r.json'}\n")


def test_patterns_fix_single_sites(case: Case, tmp_path: Path) -> None:
    bits = ["--weight-bits", "fc*=7", "--weight-bits", "2-4", "--activation-bits", "8"]
    said = invoke_json(*case.search, *bits, "--average-weight-bits", "4", "-o", tmp_path / "r.json")["bits"]
    assert said["fc.weight"] == 7
    assert {said["conv1.weight"], said["conv2.weight"]} <= {2, 3, 4}


def test_a_sweep_writes_a_recipe_for_every_point_and_more_bytes_lose_less(case: Case, tmp_path: Path) -> None:
    said = invoke_json(
        "pareto", *case.options, "-t", case.target, "--sweep", "weight-bytes", "--points", "4",
        "--activation-bits", "8", "-o", tmp_path / "front",
    )  # fmt: skip
    points = said["points"]
    recipes = [Recipe.load(tmp_path / "front" / point["recipe"]) for point in points]
    assert [recipe.weight_bytes for recipe in recipes] == [point["cost"] for point in points]
    assert points[0]["average_weight_bits"] == 2
    costs, losses = [p["cost"] for p in points], [p["loss"] for p in points]
    assert costs == sorted(set(costs))
    assert losses == sorted(set(losses), reverse=True)
    assert json.loads((tmp_path / "front" / "pareto.json").read_text())["points"] == points


@pytest.mark.parametrize("case", ["torch"], indirect=True)
def test_an_exported_torch_model_gives_the_simulated_numbers(found: Path, case: Case, tmp_path: Path) -> None:
    import torch

    from mpq_torch import fx
    from mpq_torch.torch_ao.engine import quantized_engine

    said = invoke_json("export", found / "recipe.json", *case.options, "--to", "torch", "-o", tmp_path / "m.pt")
    model, data = load_model(case.reference("model")).model, load_calibration(case.reference("calibration"))
    recipe = Recipe.load(found / "recipe.json")
    simulated = fx.simulate(fx.constrain(model, recipe, data), recipe)
    with quantized_engine("x86"), torch.no_grad():
        got = torch.jit.load(tmp_path / "m.pt")(data[0])
    assert torch.equal(got, simulated(data[0]))
    assert said["exact"] is True
    assert said["verified_values"] == 32 * 5


def test_an_exported_onnx_model_gives_the_simulated_numbers(case: Case, tmp_path: Path) -> None:
    search = ["search", *case.options, "-t", "onnxruntime", "--average-weight-bits", "4", "--activation-bits", "8"]
    invoke(*search, "-q", "-o", tmp_path / "recipe.json")
    said = invoke_json("export", tmp_path / "recipe.json", *case.options, "--to", "onnx", "-o", tmp_path / "m.onnx")
    model, data = load_model(case.reference("model")).model, load_calibration(case.reference("calibration"))
    recipe = Recipe.load(tmp_path / "recipe.json")
    if case.framework == "torch":
        from mpq_torch import fx

        x = data[0].numpy()
        wanted = fx.simulate(fx.constrain(model, recipe, data), recipe)(data[0]).detach().numpy()
    else:
        import mpq_tfmot

        x = data
        wanted = mpq_tfmot.simulate(mpq_tfmot.constrain(model, recipe, data), recipe).predict(data)
    runner = onnxruntime.InferenceSession((tmp_path / "m.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    got = runner.run(None, {runner.get_inputs()[0].name: x})[0]
    assert np.abs(got - wanted).max() <= (0 if case.framework == "torch" else 1e-6)  # Keras' ends in a float softmax
    assert said["exact"] is True


@pytest.mark.parametrize("case", ["tfmot"], indirect=True)
def test_an_exported_litert_model_gives_the_simulated_numbers(found: Path, case: Case, tmp_path: Path) -> None:
    import mpq_tfmot
    from mpq_plugins.exporters.litert.running import run_litert

    said = invoke_json("export", found / "recipe.json", *case.options, "--to", "litert", "-o", tmp_path / "m.tflite")
    model, data = load_model(case.reference("model")).model, load_calibration(case.reference("calibration"))
    recipe = Recipe.load(found / "recipe.json")
    simulated = mpq_tfmot.simulate(mpq_tfmot.constrain(model, recipe, data), recipe)
    got = run_litert((tmp_path / "m.tflite").read_bytes(), data)[0]
    assert np.abs(got - np.asarray(simulated.predict(data))).max() < 1e-6  # a float softmax ends this model
    assert said["exact"] is True


@pytest.mark.parametrize("case", ["torch"], indirect=True)
def test_a_torch_model_is_searched_for_litert_and_exported_to_it(case: Case, tmp_path: Path) -> None:
    recipe, file = tmp_path / "recipe.json", tmp_path / "m.tflite"
    bits = ["--weight-bits", "4", "--activation-bits", "8"]
    invoke("search", *case.options, "-t", "litert-po2", *bits, "-o", recipe)
    said = invoke_json("export", recipe, *case.options, "--to", "litert", "-o", file)
    assert said["exact"] is True
    assert said["bytes"] == len(file.read_bytes())


def test_a_recipe_of_another_model_is_refused_with_names(
    case: Case, found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = json.loads((found / "recipe.json").read_text())
    other["sites"]["conv9.weight"] = other["sites"].pop("conv2.weight")
    (tmp_path / "other.json").write_text(json.dumps(other))
    form = "torch" if case.framework == "torch" else "litert"
    code, said = failure(capsys, "export", tmp_path / "other.json", *case.options, "--to", form)
    assert code == 1
    assert "1 site without a grid in the recipe: conv2.weight" in said
    assert "1 site that the model does not have: conv9.weight" in said
    assert not (tmp_path / f"other.{form}").exists()


def test_calibration_data_of_the_wrong_shape_are_refused_with_both_shapes(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-m", case.reference("model"), "-c", case.reference("narrow"), "-t", case.target]
    code, said = failure(capsys, "search", *options, "--average-weight-bits", "4", "-o", tmp_path / "r.json")
    assert code == 1
    assert ("(4, 1, 9, 9)" if case.framework == "torch" else "(4, 9, 9, 1)") in said


@pytest.mark.parametrize("case", ["torch"], indirect=True)
def test_a_recipe_for_torchs_kernels_is_not_written_for_litert(
    case: Case, found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.tflite"
    code, said = failure(capsys, "export", found / "recipe.json", *case.options, "--to", "litert", "-o", out)
    assert code == 1
    assert said.startswith("target 'torch-x86' runs on torch, not on LiteRT")
    assert not out.exists()


def test_a_format_that_is_another_frameworks_or_none_is_refused_with_this_ones(
    case: Case, found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, own = ("tflite", "torch, onnx, litert") if case.framework == "torch" else ("torch", "litert, onnx")
    code, said = failure(capsys, "export", found / "recipe.json", *case.options, "--to", form)
    assert code == 1
    assert said.endswith(f"this is a {case.framework} model, which goes to {own}")


def test_a_budget_that_nobody_can_meet_is_exit_3_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "kept"))
    case = Case("torch")
    code, said = failure(capsys, *case.search, "--average-weight-bits", "1", "-o", tmp_path / "r.json")
    assert code == 3
    assert "average_weight_bits is limited to 1 and its smallest reachable value is 2 bits" in said
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-t", "torch-x68", "--bops", "1e9"], "there is no target 'torch-x68'; closest are torch-x86"),
        (["-t", "torch-x86", "--bops", "1e9", "--method", "mqse"], "there is no method 'mqse'; closest are msqe"),
        (["-t", "torch-x86", "--limit", "energy=3"], "no cost model for energy; there are"),
        (["-t", "torch-x86"], "have several candidate bit-widths and there is no budget"),
        (["-t", "torch-x86", "--bops", "1e9", "-o", "/nowhere/r.json"], "there is no directory /nowhere"),
        (["-t", "torch-x86", "--bops", "1e9", "--weight-bits", "four"], "'four' is no list of bits"),
        (["-t", "torch-x86", "--bops", "1e9", "--latency", "none.json"], "none.json"),
    ],
    ids=["target", "method", "resource", "no-budget", "no-directory", "bits", "latency"],
)
def test_what_is_misspelt_gets_one_sentence_and_exit_1(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, said = failure(capsys, "search", *Case("torch").options, *options)
    assert code == 1
    assert sentence in said


def test_a_model_file_gets_the_grids_of_the_model_that_it_holds(case: Case, found: Path, tmp_path: Path) -> None:
    model = load_model(case.reference("model")).model
    if case.framework == "torch":
        import torch

        file = tmp_path / "model.pt2"
        example = (load_calibration(case.reference("calibration"))[0],)
        program = torch.export.export(model, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, file)
    else:
        file = tmp_path / "model.keras"
        model.save(file)
    options = ["-m", file, "-c", case.reference("calibration"), "-t", case.target]
    invoke("search", *options, "--average-weight-bits", "4", "--activation-bits", "8", "-q", "-o", tmp_path / "r.json")
    wanted, got = Recipe.load(found / "recipe.json"), Recipe.load(tmp_path / "r.json")
    assert [entry.grid for entry in got.sites] == [entry.grid for entry in wanted.sites]
    assert [entry.site for entry in got.weights] == [entry.site for entry in wanted.weights]
