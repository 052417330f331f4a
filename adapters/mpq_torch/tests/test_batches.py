import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.utils.data import DataLoader, TensorDataset

from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_torch.batches import as_batch, as_batches, in_chunks, model_inputs

X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def same(batches, expected):
    assert len(batches) == len(expected)
    for batch, wanted in zip(batches, expected, strict=True):
        assert len(batch) == len(wanted)
        assert all(torch.equal(a, b) for a, b in zip(batch, wanted, strict=True))


def test_a_model_takes_as_many_arguments_as_its_graph_has_placeholders():
    assert model_inputs(fx.symbolic_trace(nn.Bilinear(2, 3, 4))) == 2


@pytest.mark.parametrize("example", [X, (X,), [X], (X, Y), [X, Y, "a label"]])
def test_the_first_arguments_of_a_batch_are_taken_and_the_labels_left(example):
    same([as_batch(example, 1)], [(X,)])


def test_a_model_of_two_arguments_gets_both():
    same([as_batch((X, Y, Y), 2)], [(X, Y)])


def test_one_tensor_is_one_batch_and_a_list_of_tensors_several():
    same(as_batches(X, 1), [(X,)])
    same(as_batches([X, X[:2]], 1), [(X,), (X[:2],)])


def test_a_data_loader_and_a_generator_calibrate():
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    same(as_batches(loader, 1), [(X[:4],), (X[4:],)])
    same(as_batches((x for x in X.split(4)), 1), [(X[:4],), (X[4:],)])


def test_batches_without_a_sample_are_left_out():
    same(as_batches([X, X[:0]], 1), [(X,)])


@pytest.mark.parametrize("nothing", [[], X[:0], [X[:0]], [()], iter([])])
def test_a_calibration_set_without_a_sample_is_refused(nothing):
    with pytest.raises(EmptyCalibration, match="used up before is empty too: pass a list"):
        as_batches(nothing, 1)


def test_nan_and_infinity_are_counted_and_located():
    bad = X.clone()
    bad[0, 0], bad[1, 1] = np.nan, np.inf
    with pytest.raises(NonFiniteValues, match="argument 1 of a calibration batch holds 2 NaN or infinite values of 12"):
        as_batch((X, bad), 2)
    same([as_batch((X, bad), 1)], [(X,)])


@pytest.mark.parametrize(("example", "name"), [({"image": X}, "dict"), (X.numpy(), "ndarray"), ("abc", "str")])
def test_a_batch_that_is_neither_tensor_nor_tuple_is_refused_by_its_type(example, name):
    with pytest.raises(ModelError, match=f"not a {name}; convert it before"):
        as_batch(example, 1)
    with pytest.raises(ModelError, match=f"not a {name}; convert it before"):
        as_batches([example], 1)


def test_integers_and_plain_values_pass():
    assert as_batch((Y, 3, None), 3) == (Y, 3, None)


def test_chunks_hold_the_samples_in_order_with_their_arguments_together():
    same(in_chunks([(X, Y)], 4), [(X[:4], Y[:4]), (X[4:], Y[4:])])
    same(in_chunks([(X,), (X[:3],)], 4), [(X[:4],), (torch.cat([X[4:], X[:2]]),), (X[2:3],)])


@pytest.mark.parametrize("batch", [(X, Y[:3]), (X, 3), (X, torch.tensor(2.0))])
def test_arguments_that_cannot_be_split_together_stay_together(batch):
    assert in_chunks([batch], 2) == [batch]
