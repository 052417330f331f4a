"""Averages of windows of quantized tensors, in whatever order their memory lies."""

import itertools

import pytest
import torch

from mpq_torch.modules.written import Average


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("sizes", [(3, 4, 2), (1, 4, 3), (8, 1, 4), (2, 4, 1), (2, 6)])
def test_an_average_is_the_same_in_every_order_of_the_axes(sizes, samples):
    shape = (samples, *sizes)
    kernel = tuple(min(2, size) for size in sizes[1:])
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()
    average = Average(len(kernel))
    wanted = average(values.double(), kernel).round()  # of whole numbers, half to even
    for order in itertools.permutations(range(len(shape))):
        moved = torch.quantize_per_tensor(values.permute(order).contiguous(), 1.0, 0, torch.quint8)
        x = moved.permute([order.index(axis) for axis in range(len(shape))])
        strides = [1 if size == 1 else stride for size, stride in zip(shape, x.stride(), strict=True)]
        for seen in (x, x.as_strided(shape, strides)):
            assert torch.equal(average(seen, kernel).dequantize().double(), wanted)
