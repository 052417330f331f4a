"""What ACME's customers build their torch models of."""

import torch
from torch import nn


def swoosh(x):
    return x * torch.sigmoid(1.5 * x) + 0.25 * torch.exp(-x * x)


class Swoosh(nn.Module):
    def forward(self, x):
        return swoosh(x)


def gate(a, b):
    return a * torch.sigmoid(b)


class Gate(nn.Module):
    def forward(self, a, b):
        return gate(a, b)
