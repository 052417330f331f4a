"""The cut of the calibration set, against the samples counted one by one."""

from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.rounding.moments.chunks import CHUNK, GRAIN, cut, grains


def samples_of(chunks):
    return [[(p.batch, i) for p in chunk for i in range(p.start, p.stop)] for chunk in chunks]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 50))
def test_every_sample_is_in_one_chunk_in_order_and_all_chunks_but_the_last_are_full(lengths, size):
    found = samples_of(cut(lengths, ["same"] * len(lengths), size))
    every = [(batch, i) for batch, length in enumerate(lengths) for i in range(length)]
    assert found == [every[start : start + size] for start in range(0, len(every), size)]


def test_samples_of_another_shape_and_batches_that_cannot_be_split_begin_a_new_chunk():
    found = samples_of(cut([3, 2, 5, 1], ["a", "b", None, "b"], 4))
    assert [len(chunk) for chunk in found] == [3, 2, 5, 1]


def test_grains_of_any_cut_are_the_grains_of_the_whole_set():
    whole = [(run.grain, run.first + k) for run in grains(0, 150) for k in range(run.stop - run.start)]
    parts = [
        (run.grain, run.first + k)
        for first, samples in ((0, 50), (50, 30), (80, 70))
        for run in grains(first, samples)
        for k in range(run.stop - run.start)
    ]
    assert parts == whole == [divmod(sample, GRAIN) for sample in range(150)]


def test_a_chunk_holds_whole_grains():
    assert CHUNK % GRAIN == 0
