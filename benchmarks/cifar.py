"""CIFAR-10 in the layout of its public archive, and the CIFAR ResNets of He et al. (2015), section 4.2."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CHECKPOINTS = {"resnet20": "resnet20-12fca82f.th", "resnet32": "resnet32-d509ac18.th"}
BLOCKS = {"resnet20": 3, "resnet32": 5}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut is option A: subsample, pad with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.extra = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra), "constant", 0.0)
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """ResNet-(6 n + 2) for 32 x 32 images; ``blocks`` is n."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[BasicBlock(16, 16, 1) for _ in range(blocks)])
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), *[BasicBlock(32, 32, 1) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), *[BasicBlock(64, 64, 1) for _ in range(blocks - 1)])
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(torch.flatten(F.avg_pool2d(out, 8), 1))


def load_model(name: str, data: Path) -> CifarResNet:
    """A pretrained ResNet-20 or ResNet-32 from the checkpoint file in ``data``."""
    model = CifarResNet(BLOCKS[name])
    state = torch.load(data / CHECKPOINTS[name], weights_only=True, map_location="cpu")["state_dict"]
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model.eval()


def load_images(data: Path, train: bool) -> tuple[Tensor, Tensor]:
    """Normalized float32 images [N, 3, 32, 32] and int64 labels [N]."""
    batches = data / "cifar-10-batches-py"
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    rows, labels = [], []
    for name in names:
        with open(batches / name, "rb") as file:
            batch = pickle.load(file, encoding="bytes")
        rows.append(np.asarray(batch[b"data"], dtype=np.uint8))
        labels.extend(batch[b"labels"])
    images = torch.from_numpy(np.concatenate(rows)).view(-1, 3, 32, 32).float().div_(255)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return images.sub_(mean).div_(std), torch.tensor(labels)


def accuracy(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Top-1 accuracy in per cent."""
    with torch.no_grad():
        hits = sum(
            int((model(images[i : i + batch]).argmax(1) == labels[i : i + batch]).sum())
            for i in range(0, len(images), batch)
        )
    return 100.0 * hits / len(images)
