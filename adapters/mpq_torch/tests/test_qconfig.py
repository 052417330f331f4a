import torch
from torch import nn

from mpq_plugins import Grid, Recipe
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_torch.torch_ao.observers import GridObserver, GridPerChannelObserver, GridWeightObserver
from mpq_torch.torch_ao.qconfig import get_qconfig_mapping

INPUT, OUT, AGAIN = (Grid.power_of_two(bits, 0) for bits in (8, 5, 6))
GRIDS = {"x": INPUT, "fc": OUT, "fc__call1": AGAIN}
PER_TENSOR = Grid.power_of_two(4, -1)
PER_CHANNEL = Grid.power_of_two(3, [0, 1] * 100, axis=0)


def mapping(weight=PER_TENSOR, shape=(200, 3)):
    entries = [
        SiteGrid("x", "activation", "input", (3,), INPUT),
        SiteGrid("fc.weight", "weight", "linear", shape, weight),
        SiteGrid("fc", "activation", "linear", (200,), OUT),
        SiteGrid("fc__call1", "activation", "linear", (200,), AGAIN),
    ]
    return get_qconfig_mapping(Recipe(entries, "torch-x86", "by hand"))


def test_every_activation_names_the_modules_that_may_compute_it():
    names = mapping().module_name_qconfigs
    ops = [site + suffix for site in ("fc", "fc__call1") for suffix in ("", "__relu", "__clamp")]
    assert list(names) == ["x__input", "x__clamp", *ops]
    for name, qconfig in names.items():
        observer = qconfig.activation()
        assert isinstance(observer, GridObserver)
        site = next(site for site in reversed(GRIDS) if name.startswith(site))
        assert observer.grid() == GRIDS[site]


def test_a_layer_and_its_later_calls_have_the_layer_s_weight_grid():
    names = mapping().module_name_qconfigs
    for name in ("fc", "fc__relu", "fc__call1"):
        observer = names[name].weight()
        assert isinstance(observer, GridWeightObserver)
        assert observer.grid() == PER_TENSOR


def test_nothing_else_is_quantized_but_ops_that_keep_their_grid():
    found = mapping()
    assert found.global_qconfig is None
    assert not found.object_type_qconfigs
    assert list(found.module_name_regex_qconfigs) == [".*__same_grid.*"]


def test_every_slice_of_a_wide_layer_has_its_own_channels_steps():
    names = mapping(PER_CHANNEL).module_name_qconfigs
    observers = [names[f"fc.slices.{index}"].weight() for index in range(3)]
    assert all(isinstance(observer, GridPerChannelObserver) for observer in observers)
    assert [len(observer.grid().steps) for observer in observers] == [96, 96, 8]
    assert tuple(step for observer in observers for step in observer.grid().steps) == PER_CHANNEL.steps
    assert {observer.grid().bits for observer in observers} == {3}
    assert "fc.slices.3" not in names
    assert names["fc.slices.1"].activation().grid() == OUT


def test_a_recipe_without_sites_quantizes_nothing():
    found = get_qconfig_mapping(Recipe([], "torch-x86", "by hand"))
    assert not found.module_name_qconfigs
    assert not found.module_name_regex_qconfigs
    assert found.global_qconfig is None


def test_the_mapping_is_the_one_that_torch_ao_looks_up_by_module_name():
    qconfig = mapping().module_name_qconfigs["fc"]
    observer = qconfig.activation()
    observer(torch.zeros(2))
    assert isinstance(observer, nn.Module)
    scale, zero_point = observer.calculate_qparams()
    assert float(scale) == OUT.steps[0]
    assert int(zero_point) == -OUT.low
