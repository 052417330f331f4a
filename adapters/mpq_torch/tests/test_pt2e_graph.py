"""How an exported graph is read: its ops, its names, and what torch.export cannot do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mpq_plugins import Grid, Recipe
from mpq_plugins.errors import ModelError
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_torch.pt2e.accumulation import widen
from mpq_torch.pt2e.exported_names import ExportedNames
from mpq_torch.pt2e.exported_ops import argument, clamped_codes, follow_in_place_ops, op_of, tensors_of
from mpq_torch.pt2e.exporting import export

pytestmark = pytest.mark.filterwarnings("ignore")


def graph_of(function, *inputs):
    class Calls(nn.Module):
        def forward(self, *args):
            return function(*args)

    return torch.export.export(Calls(), inputs).module()


def the(graph, op):
    (found,) = [node for node in graph.graph.nodes if op_of(node) == op]
    return found


def recipe(*adds):
    grid = Grid.power_of_two(8, 0)
    sites = [SiteGrid(name, "activation", "add", (4,), grid) for name in adds]
    return Recipe(sites, "torch-pt2e", "by hand")


def test_arguments_are_found_by_their_name_in_the_schema():
    graph = graph_of(lambda x: torch.nn.functional.hardtanh(x, -1.0, 0.5), torch.randn(4))
    assert argument(the(graph, "hardtanh"), "max_val") == 0.5
    assert argument(the(graph, "hardtanh"), "min_val", 7) == -1.0


def test_a_concat_reads_every_tensor_once():
    graph = graph_of(lambda x, y: torch.cat([x, y, x], 0), torch.randn(4), torch.randn(4))
    assert [node.name for node in tensors_of(the(graph, "cat"))] == ["args_0", "args_1"]


@pytest.mark.parametrize(
    ("function", "op", "codes"),
    [
        (lambda x: x.clamp(0.3, 2.0), "clamp", (2, 7)),  # 0.3 lies between codes 1 and 2 of step 0.25
        (lambda x: x.clamp(max=1.1), "clamp", (-8, 4)),
        (torch.nn.functional.relu6, "relu6", (0, 7)),
        (torch.nn.functional.hardtanh, "hardtanh", (-4, 4)),
    ],
)
def test_the_bounds_of_a_clamp_move_inwards_onto_the_grid(function, op, codes):
    grid = Grid.power_of_two(4, 1)
    node = next(n for n in graph_of(function, torch.randn(4)).graph.nodes if op_of(n) in (op, "hardtanh"))
    assert clamped_codes(node, grid, (grid.low, grid.high)) == codes


def test_a_second_clamp_leaves_what_both_leave():
    grid = Grid.power_of_two(4, 1)
    node = the(graph_of(lambda x: x.clamp(-1.0, 0.5), torch.randn(4)), "clamp")
    assert clamped_codes(node, grid, (0, 7)) == (0, 2)
    assert clamped_codes(node, grid, (3, 7)) == (2, 2)


def test_readers_of_an_overwritten_tensor_read_what_overwrote_it():
    def overwriting(x):
        y = x * 2
        z = y.relu_()
        return y + z

    graph = graph_of(overwriting, torch.randn(4))
    follow_in_place_ops(graph.graph)
    assert set(the(graph, "add").args) == {the(graph, "relu_")}


class Block(nn.Module):
    def forward(self, x):
        y = x + x
        y += x
        return torch.add(y, x)


def test_adds_are_named_as_torch_fx_names_them_however_they_are_spelt():
    model, x = nn.Sequential(Block(), Block()), torch.randn(4)
    names = ["0.add", "0.add_1", "0.add_2", "1.add", "1.add_1", "1.add_2"]
    graph = torch.export.export(model, (x,)).module().graph
    found = ExportedNames(graph, recipe(*names))
    assert [found[node] for node in graph.nodes if op_of(node).startswith("add")] == names


def test_modules_are_named_by_their_path_and_second_calls_are_numbered():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4))

        def forward(self, x):
            return self.inner(self.inner(x))

    for strict in (False, True):
        graph = torch.export.export(Twice(), (torch.randn(2, 4),), strict=strict).module().graph
        found = ExportedNames(graph, recipe("add"))
        linears = [node for node in graph.nodes if op_of(node) == "linear"]
        assert [found[node] for node in linears] == ["inner.0", "inner.0__call1"]
        assert {found.layer(node) for node in linears} == {"inner.0"}


def test_an_example_of_one_sample_leaves_the_batch_size_open():
    exported = export(nn.Linear(4, 3), (torch.randn(1, 4),))
    assert [len(exported(torch.randn(n, 4))) for n in (1, 5)] == [1, 5]


def test_the_hooks_that_find_the_failing_module_are_taken_off_again():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no such thing")

    model = nn.Sequential(nn.Linear(4, 4), Broken())
    with pytest.raises(ModelError, match=r"module '1' \(Broken\) at ValueError: no such thing"):
        export(model, (torch.randn(2, 4),))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_only_layers_whose_sums_could_round_are_widened():
    ops = torch.ops.quantized_decomposed

    def layer(x, codes):
        x = ops.dequantize_per_tensor(x, 0.5, 0, 0, 255, torch.uint8)
        return torch.nn.functional.linear(x, ops.dequantize_per_tensor(codes, 0.25, 0, -128, 127, torch.int8))

    class Holding(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.register_buffer("codes", torch.full((2, inputs), 127, dtype=torch.int8))

        def forward(self, x):
            return layer(x, self.codes)

    # 127 * 255 * 518 is the last multiple within 2**24
    for inputs, wide in ((518, 0), (519, 1)):
        x = torch.full((3, inputs), 255, dtype=torch.uint8)
        graph = torch.export.export(Holding(inputs), (x,)).module()
        assert len(widen(graph)) == wide
        assert torch.equal(graph(x), torch.full((3, 2), 127 * 255 * inputs * 0.125, dtype=torch.float64).float())
