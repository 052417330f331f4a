"""The float model of a training: what was written before it, with the weights and biases that it has trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import fx

from mpq_torch.training.float_layers import set_bias, set_weight
from mpq_torch.training.trained_layer import TrainedLayer
from mpq_torch.training.written import layer_at


def folded_copy(written: fx.GraphModule, layers: Mapping[str, TrainedLayer]) -> fx.GraphModule:
    """A copy of a written model whose layers have what is trained, batch norms folded into it."""
    graph = copy.deepcopy(written)
    for path, layer in layers.items():
        target = layer_at(graph, path)
        set_weight(path, target, layer.folded_weight().detach())
        bias = layer.layer.bias if layer.norm is None else layer.folded_bias()
        if bias is not None:
            set_bias(target, bias.detach())
    return graph
