"""What a torch user points the commands at."""

from __future__ import annotations

import sys
import time

import torch

from mpq_torch.tests.networks import Residual, settled


def model():
    torch.manual_seed(0)
    return settled(Residual())


def calibration():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 9, 9, generator=generator) for _ in range(2)]


def slow():
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)


def narrow():
    return [torch.zeros(4, 1, 9, 9)]
