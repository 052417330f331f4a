"""Containers: which type a grid is stored in, and the bytes of packed codes as onnx reads them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from mpq_plugins import Grid, GridError
from mpq_plugins.exporters.onnx.containers import BITS, Container, Type, activation_container, pack, weight_container


@given(
    kind=st.sampled_from(sorted(BITS)),
    signed=st.lists(st.integers(-128, 127), max_size=9).map(lambda v: np.array(v, int)),
)
def test_packed_codes_are_what_onnx_reads_back(kind: Type, signed: np.ndarray) -> None:
    container = Container(kind)
    codes = np.clip(signed, container.low, container.high)
    tensor = onnx.helper.make_tensor(
        "t", getattr(onnx.TensorProto, kind.upper()), codes.shape, pack(codes, kind), raw=True
    )
    assert numpy_helper.to_array(tensor).astype(int).tolist() == codes.tolist()
    assert len(pack(codes, kind)) == -(-len(codes) * BITS[kind] // 8)


@given(bits=st.integers(1, 8), signed=st.booleans(), narrow=st.booleans(), symmetric=st.booleans())
def test_a_container_holds_every_code_of_its_grid_and_has_an_even_zero_point(
    bits: int, signed: bool, narrow: bool, symmetric: bool
) -> None:
    bits = max(bits, 2) if signed else bits
    grid = Grid.power_of_two(bits, 0, signed, narrow and signed)
    container = activation_container(grid, symmetric)
    assert container.low <= grid.low <= grid.high <= container.high
    assert container.zero_point % 2 == 0
    if symmetric or not signed:
        assert container.zero_point == 0


def test_signed_codes_are_stored_as_small_as_can_be() -> None:
    # half the range as zero point: what kernels that add products in 16 bits see is at most 2**bits - 1
    for bits in range(2, 9):
        grid = Grid.power_of_two(bits, 0)
        assert activation_container(grid).zero_point + grid.high == 2**bits - 1


@pytest.mark.parametrize(
    ("bits", "opset", "kind"), [(2, 21, "int4"), (2, 25, "int2"), (3, 25, "int4"), (4, 21, "int4"), (5, 25, "int8")]
)
def test_weights_lie_in_the_smallest_type_that_the_opset_has(bits: int, opset: int, kind: Type) -> None:
    grid = Grid.power_of_two(bits, 0)
    assert weight_container(grid, True, opset) == Container(kind)
    assert weight_container(grid, False, opset) == Container("int8")


def test_an_activation_of_more_than_8_bits_is_refused() -> None:
    with pytest.raises(GridError, match="at most 8 bits, got a grid of 9 bits"):
        activation_container(Grid.power_of_two(9, 0))
