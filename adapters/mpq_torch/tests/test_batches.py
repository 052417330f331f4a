import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_torch.calling.arguments import Takes, takes_of
from mpq_torch.calling.batches import as_batch, as_batches, in_chunks
from mpq_torch.reader.data import read_with_data
from mpq_torch.runner.torch_runner import TorchRunner

ONE, TWO, THREE = Takes(("x",)), Takes(("x", "y")), Takes(("x", "y", "z"))
X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def same(batches, expected):
    assert len(batches) == len(expected)
    for batch, wanted in zip(batches, expected, strict=True):
        assert len(batch) == len(wanted)
        assert all(torch.equal(a, b) for a, b in zip(batch, wanted, strict=True))


@pytest.mark.parametrize("example", [X, (X,), [X], (X, Y), [X, Y, "a label"]])
def test_the_first_arguments_of_a_batch_are_taken_and_the_labels_left(example):
    same([as_batch(example, ONE)], [(X,)])


def test_a_model_of_two_arguments_gets_both():
    same([as_batch((X, Y, Y), TWO)], [(X, Y)])


def test_one_tensor_is_one_batch_and_a_list_of_tensors_several():
    same(as_batches(X, ONE), [(X,)])
    same(as_batches([X, X[:2]], ONE), [(X,), (X[:2],)])


def test_a_data_loader_and_a_generator_calibrate():
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    same(as_batches(loader, ONE), [(X[:4],), (X[4:],)])
    same(as_batches((x for x in X.split(4)), ONE), [(X[:4],), (X[4:],)])


def test_batches_without_a_sample_are_left_out():
    same(as_batches([X, X[:0]], ONE), [(X,)])


@pytest.mark.parametrize("nothing", [[], X[:0], [X[:0]], [()], iter([])])
def test_a_calibration_set_without_a_sample_is_refused(nothing):
    with pytest.raises(EmptyCalibration, match="used up before is empty too: pass a list"):
        as_batches(nothing, ONE)


def test_nan_and_infinity_are_counted_and_located():
    bad = X.clone()
    bad[0, 0], bad[1, 1] = np.nan, np.inf
    with pytest.raises(NonFiniteValues, match="argument 1 of a calibration batch holds 2 NaN or infinite values of 12"):
        as_batch((X, bad), TWO)
    same([as_batch((X, bad), ONE)], [(X,)])


class Named(nn.Module):
    def forward(self, x, flag=True, *, y, z=None):
        return x


@pytest.mark.parametrize("example", [{"y": Y, "x": X, "label": Y}, ({"x": X, "y": Y}, "labels")])
def test_a_dict_holds_arguments_by_name_and_what_names_none_is_left(example):
    assert takes_of(Named()) == Takes(("x", "flag"), ("y", "z"), {"flag": True, "z": None})
    x, flag, y = as_batch(example, takes_of(Named()))
    assert (x is X, flag, y is Y) == (True, True, True)
    same(as_batches({"x": X, "y": Y}, TWO), [(X, Y)])
    assert as_batch(as_batch(example, takes_of(Named())), takes_of(Named())) == (x, flag, y)


def test_a_dict_whose_keys_name_no_argument_is_the_one_argument():
    assert as_batch({"image": X, "rest": [Y]}, ONE) == ({"image": X, "rest": [Y]},)
    assert as_batch(({"image": X}, "labels"), ONE) == ({"image": X},)
    with pytest.raises(ModelError, match="a batch holds image, and the model takes x, y"):
        as_batch({"image": X}, TWO)


def test_arguments_that_are_missing_are_named():
    with pytest.raises(ModelError, match="needs the arguments y too; given are x"):
        as_batch({"x": X}, takes_of(Named()))
    with pytest.raises(ModelError, match="takes y by name only; let each batch be a dict"):
        as_batch(X, takes_of(Named()))


@pytest.mark.parametrize(("example", "name"), [(X.numpy(), "ndarray"), ({"x": X.numpy()}, "ndarray"), ("abc", "str")])
def test_a_batch_that_is_neither_tensor_nor_tuple_is_refused_by_its_type(example, name):
    with pytest.raises(ModelError, match=f"not a {name}; convert it before"):
        as_batch(example, ONE)
    with pytest.raises(ModelError, match=f"not a {name}; convert it before"):
        as_batches([example], ONE)


def test_integers_and_plain_values_pass():
    assert as_batch((Y, 3, None), THREE) == (Y, 3, None)


def test_chunks_hold_the_samples_in_order_with_their_arguments_together():
    same(in_chunks([(X, Y)], 4), [(X[:4], Y[:4]), (X[4:], Y[4:])])
    same(in_chunks([(X,), (X[:3],)], 4), [(X[:4],), (torch.cat([X[4:], X[:2]]),), (X[2:3],)])


@pytest.mark.parametrize("batch", [(X, Y[:3]), (X, 3), (X, torch.tensor(2.0))])
def test_arguments_that_cannot_be_split_together_stay_together(batch):
    assert in_chunks([batch], 2) == [batch]


def test_a_batch_and_what_a_runner_makes_go_where_the_model_is():
    model = nn.Linear(3, 2).to("meta")
    (found,) = as_batches([X], takes_of(model))
    assert [t.device.type for t in found] == ["meta"]
    runner = TorchRunner(device=found[0].device)
    assert runner.tensor(np.zeros(3)).device.type == "meta"
    both = nn.Sequential(model, nn.Linear(2, 2))
    assert takes_of(both).device is None


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, *, x, mask=None):
        y = self.layer(x)
        return y if mask is None else y * mask


@pytest.mark.parametrize("example", [X, (X,), [X]])
def test_tensors_are_refused_where_the_model_takes_them_by_name_only(example):
    with pytest.raises(ModelError, match="the model takes x by name only; let each batch be a dict"):
        as_batch(example, takes_of(ByName()))


def test_a_dict_of_nothing_is_refused():
    with pytest.raises(ModelError, match="a batch holds nothing, and the model takes x, mask"):
        as_batch({}, takes_of(ByName()))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (X.double(), "argument input is float64, and the model was read with float32"),
        (X.int(), "argument input is int32, and the model was read with float32"),
        (X[0], "argument input has the shape .2,., and the model was read with 2 axes"),
        (X[:, :1], "batch 1 holds inputs of the shape .6, 1., which do not go through the model"),
    ],
)
def test_a_batch_that_is_not_like_the_first_is_refused_by_its_number_or_argument(other, sentence):
    with pytest.raises(ModelError, match=sentence):
        read_with_data(nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval(), [X, other])


def test_a_batch_whose_none_is_a_tensor_elsewhere_is_refused_either_way():
    one, other = {"x": X, "mask": None}, {"x": X, "mask": torch.ones(6, 3)}
    for batches, sentence in (
        ([one, other], "argument mask is tensor.*, and the model was read with None"),
        ([other, one], "argument mask has to be a tensor, and is None"),
    ):
        with pytest.raises(ModelError, match=f"(?s){sentence}"):
            read_with_data(ByName().eval(), batches)


class OfNested(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x):
        return self.layer(x["of"]["image"])


@pytest.mark.parametrize(("nested", "name"), [({"of": {"imag": X}}, "image"), ({"off": {"image": X}}, "of")])
def test_a_misspelt_name_inside_of_a_batch_is_said(nested, name):
    with pytest.raises(ModelError, match=f"OfNested does not run at line .*: there is no '{name}'; let each batch"):
        read_with_data(OfNested().eval(), [{"x": nested}])
    with pytest.raises(ModelError, match="the model needs the arguments of_image too"):
        read_with_data(OfNested().eval(), [{"x": {"of": {"image": X}}}, {"x": nested}])
