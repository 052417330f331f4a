"""A .pt2 file is the model that was exported, in layers that can be quantized under the names that they had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mpq_plugins.errors import ModelError
from mpq_torch import fx
from mpq_torch.reader.aten import spelled
from mpq_torch.reader.exported_program import load_program
from mpq_torch.reader.exporting import trace_exported
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.tracing import name_nodes
from mpq_torch.tests.networks import Mobile, Residual, Scaled, settled


def saved(model: nn.Module, path: Path) -> tuple[nn.Module, torch.Tensor]:
    """The model, and an input of it, after it was exported to ``path`` with an open batch axis."""
    torch.manual_seed(0)
    model = settled(model)
    x = torch.randn(3, *model.input_shape)
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=dynamic), path)
    return model, x


@pytest.mark.parametrize("kind", [Residual, Mobile])
def test_a_loaded_program_computes_what_the_model_computes_and_names_its_weights_alike(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    model, x = saved(kind(), tmp_path / "model.pt2")
    loaded = load_program(tmp_path / "model.pt2")
    with torch.no_grad():
        assert torch.allclose(loaded(x), model(x), atol=1e-6)
        assert torch.allclose(loaded(x[:1]), model(x[:1]), atol=1e-6)
    wanted, got = (fx.inventory(m, x) for m in (model, loaded))
    assert [site.name for site in got.weights] == [site.name for site in wanted.weights]
    assert [(site.kind, site.op, site.shape, site.macs) for site in got] == [
        (site.kind, site.op, site.shape, site.macs) for site in wanted
    ]


def test_arithmetic_with_constants_is_read_from_a_program_as_from_the_model(tmp_path: Path) -> None:
    model, x = saved(Scaled(), tmp_path / "model.pt2")
    loaded = load_program(tmp_path / "model.pt2")
    with torch.no_grad():
        assert torch.allclose(loaded(x), model(x), atol=1e-6)
    wanted, got = (read_model(m, (x,)).graph for m in (model, loaded))
    assert [node.op for node in got.nodes] == [node.op for node in wanted.nodes]


def test_a_recipe_searched_on_the_file_has_the_models_grids(tmp_path: Path) -> None:
    model, x = saved(Residual(), tmp_path / "model.pt2")
    recipes = [
        fx.search(m, [x], "torch-x86", weight_bits=4, activation_bits=8, progress=False)
        for m in (model, load_program(tmp_path / "model.pt2"))
    ]
    grids = [[(entry.kind, entry.grid) for entry in recipe.sites] for recipe in recipes]
    assert grids[0] == grids[1]


def test_what_is_no_program_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"model\.pt2 is no exported program \(torch\.export\.save\)"):
        load_program(tmp_path / "model.pt2")


def test_a_program_in_training_mode_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    torch.export.save(torch.export.export(model, (torch.randn(2, 3, 8, 8),)), tmp_path / "model.pt2")
    with pytest.raises(ModelError, match=r"exported in training mode; call model\.eval\(\) before"):
        load_program(tmp_path / "model.pt2")


def test_a_conversion_that_names_a_layout_is_the_method_which_takes_none() -> None:
    given = {"dtype": torch.int64, "layout": torch.strided, "device": torch.device("cpu")}
    call = spelled(torch.ops.aten.to.dtype_layout, (torch.ones(2),), given)
    assert getattr(torch.Tensor, call.target)(*call.args, **call.kwargs).dtype == torch.int64


def test_masks_that_are_joined_have_no_word_of_python_s_for_a_name() -> None:
    class Joined(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where((x > 0) & (x < 1) | (x > 2), x, 0.0)

    named = name_nodes(trace_exported(Joined(), (torch.randn(3, 4),)).graph)
    assert {"and_", "or_"} < set(named.values())
