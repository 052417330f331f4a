"""Gradients of a runner: each is given as it appears, once."""

import numpy as np
import torch
from torch import nn

from mpq_torch.runner.torch_runner import TorchRunner


def test_gradients_come_in_the_order_in_which_they_are_computed_and_parameters_alone_last():
    run, seen = TorchRunner(), []
    x = run.watched(torch.ones(2))
    inside, alone = 3 * x, 2 * nn.Parameter(torch.ones(2))
    output = inside * inside + alone
    wanted = [x, inside, alone, torch.ones(2), x]
    for _ in range(2):
        with run.gradients([output], wanted) as take:
            take([np.array([1.0, 2.0])], lambda at, g: seen.append((at, g.tolist())))
    once = [(1, [6.0, 12.0]), (0, [18.0, 36.0]), (4, [18.0, 36.0]), (2, [1.0, 2.0])]
    assert seen == 2 * once
