"""Random networks that exist twice, in torch and in tf_keras, with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_tfmot.keras import keras

SIDE, CHANNELS, CLASSES = 12, 3, 5
Array = NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One op: its name, kind, the names of what it reads, and its arrays in torch's layout."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    weight: Array | None = None
    bias: Array | None = None
    relu: bool = False


def draw(seed: int, depth: int = 4) -> tuple[Step, ...]:
    """A random network of convolutions, depthwise ones, adds and concatenations, and a dense layer or two."""
    rng = np.random.default_rng(seed)
    channels = {"x": CHANNELS}
    steps: list[Step] = []

    def add(kind: str, inputs: tuple[str, ...], outputs: int, kernel: int = 3, relu: bool = True) -> str:
        name, inside = f"{kind}{len(steps)}", channels[inputs[0]]
        weight = bias = None
        if kind in ("conv", "depthwise", "dense"):
            shape = {"conv": (outputs, inside, kernel, kernel), "depthwise": (outputs, 1, 3, 3)}.get(
                kind, (outputs, inside)
            )
            weight = (rng.normal(size=shape) * rng.uniform(0.7, 1.4) * np.sqrt(2 / np.prod(shape[1:]))).astype(
                np.float32
            )
            bias = (rng.normal(size=outputs) * 0.1).astype(np.float32)
        steps.append(Step(name, kind, inputs, weight, bias, relu))
        channels[name] = outputs
        return name

    last = add("conv", ("x",), int(rng.integers(6, 13)))
    for _ in range(depth):
        kind = rng.choice(["conv", "depthwise", "residual", "concat"])
        width = channels[last]
        if kind == "conv":
            last = add("conv", (last,), int(rng.integers(6, 13)), int(rng.choice([1, 3])))
        elif kind == "depthwise":
            last = add("conv", (add("depthwise", (last,), width),), int(rng.integers(6, 13)), 1)
        elif kind == "residual":
            inner = add("conv", (add("conv", (last,), width),), width, relu=False)
            last = add("add", (last, inner), width)
        elif width < 20:
            other = add("conv", (last,), int(rng.integers(4, 7)), 1)
            last = add("concat", (last, other), width + channels[other], relu=False)
    if rng.random() < 0.5:
        last = add("conv", (add("pool", (last,), channels[last], relu=False),), 4)
        side = SIDE // 2
        last = add("flatten", (last,), 4 * side * side, relu=False)
    else:
        last = add("mean", (last,), channels[last], relu=False)
    if rng.random() < 0.5:
        last = add("dense", (last,), 16)
    add("dense", (last,), CLASSES, relu=False)
    return tuple(steps)


class TorchTwin(nn.Module):
    """The network in torch."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self.steps = steps
        for step in steps:
            if step.weight is None or step.bias is None:
                continue
            outputs, inputs = step.weight.shape[:2]
            if step.kind == "dense":
                layer: nn.Module = nn.Linear(inputs, outputs)
            else:
                groups = outputs if step.kind == "depthwise" else 1
                layer = nn.Conv2d(inputs * groups, outputs, step.weight.shape[2], padding="same", groups=groups)
            layer.weight.data, layer.bias.data = torch.from_numpy(step.weight), torch.from_numpy(step.bias)
            self.add_module(step.name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [samples, classes] of images [samples, channels, rows, columns]."""
        values = {"x": x}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            if step.kind == "add":
                y = inputs[0] + inputs[1]
            elif step.kind == "concat":
                y = torch.cat(inputs, 1)
            elif step.kind == "pool":
                y = F.max_pool2d(inputs[0], 2)
            elif step.kind == "mean":
                y = inputs[0].mean((2, 3))
            elif step.kind == "flatten":
                y = torch.flatten(inputs[0], 1)
            else:
                y = getattr(self, step.name)(inputs[0])
            values[step.name] = F.relu(y) if step.relu else y
        return values[self.steps[-1].name]


def keras_twin(steps: tuple[Step, ...]) -> Any:
    """The network in tf_keras, for images [samples, rows, columns, channels]."""
    layers = keras.layers
    values = {"x": keras.Input((SIDE, SIDE, CHANNELS), name="x")}
    made = {
        "add": layers.Add,
        "concat": layers.Concatenate,
        "pool": lambda name: layers.MaxPooling2D(2, name=name),
        "mean": layers.GlobalAveragePooling2D,
        "flatten": layers.Flatten,
    }
    for step in steps:
        inputs = [values[name] for name in step.inputs]
        activation = "relu" if step.relu else None
        if step.weight is None or step.bias is None:
            y = made[step.kind](name=step.name)(inputs[0] if len(inputs) == 1 else inputs)
            values[step.name] = layers.ReLU(name=f"{step.name}_relu")(y) if step.relu else y
            continue
        outputs, weight = step.weight.shape[0], step.weight
        if step.kind == "dense":
            layer = layers.Dense(outputs, activation=activation, name=step.name)
            image = _flattened(step, steps, inputs[0])
            weight = weight.T
            if image is not None:  # columns in the order of a flattened NHWC image
                weight = weight.reshape(image[2], image[0], image[1], -1).transpose(1, 2, 0, 3).reshape(weight.shape)
        elif step.kind == "depthwise":
            layer = layers.DepthwiseConv2D(3, padding="same", activation=activation, name=step.name)
            weight = weight.transpose(2, 3, 0, 1)
        else:
            layer = layers.Conv2D(outputs, weight.shape[2], padding="same", activation=activation, name=step.name)
            weight = weight.transpose(2, 3, 1, 0)
        values[step.name] = layer(inputs[0])
        layer.set_weights([np.ascontiguousarray(weight), step.bias])
    return keras.Model(values["x"], values[steps[-1].name])


def _flattened(step: Step, steps: tuple[Step, ...], x: Any) -> tuple[int, int, int] | None:
    """The shape of the image that a dense layer reads flattened."""
    source = next((s for s in steps if s.name == step.inputs[0]), None)
    if source is None or source.kind != "flatten":
        return None
    side = SIDE // 2
    return side, side, x.shape[-1] // side**2


def images(seed: int, samples: int = 96) -> tuple[Tensor, Array]:
    """The same random images for torch and for tf_keras."""
    x = np.random.default_rng(seed + 10_000).normal(size=(samples, CHANNELS, SIDE, SIDE)).astype(np.float32)
    return torch.from_numpy(x), np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def twin_sites(inventory: Inventory, other: Inventory) -> dict[str, str]:
    """Site of one twin -> that of the other: layers by name, ops without a weight in the order of their kind."""
    return dict(zip(_keys(inventory).values(), (_keys(other)[key] for key in _keys(inventory)), strict=True))


def _keys(inventory: Inventory) -> dict[tuple[str, object], str]:
    keys: dict[tuple[str, object], str] = {}
    layers = {site.name.removesuffix(".weight") for site in inventory.weights}
    for site in inventory:
        own = site.kind == "weight" or site.name in layers
        count = sum(op == site.op for op, _ in keys)
        keys["" if own else site.op, site.name if own else count] = site.name
    return keys


def with_grids_of(recipe: Recipe, other: Recipe, sites: Mapping[str, str], inventory: Inventory) -> Recipe:
    """``recipe`` with the grids of its twin. sites: of ``recipe`` -> of ``other``; inventory: of ``recipe``."""
    grids = {}
    for site in inventory:
        grid = other[sites[site.name]]
        grids[site.name] = grid if grid.axis is None else replace(grid, axis=site.channel_axis)
    return recipe.with_grids(grids)


def in_torch_layout(step: Step, weights: Mapping[str, list[Array]], steps: tuple[Step, ...]) -> tuple[Array, Array]:
    """Weight and bias of a layer of the Keras twin as torch has them."""
    weight, bias = weights[step.name]
    assert step.weight is not None
    if step.kind == "conv":
        return weight.transpose(3, 2, 0, 1), bias
    if step.kind == "depthwise":
        return weight.transpose(2, 3, 0, 1), bias
    source = next(s for s in steps if s.name == step.inputs[0])
    if source.kind == "flatten":
        side = SIDE // 2
        channels = weight.shape[0] // side**2
        weight = weight.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
    return weight.T, bias
