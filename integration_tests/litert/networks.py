"""torch networks for the tests of LiteRT: what phones run, what segments images, and single ops by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def normed(inputs, outputs, kernel, stride=1, groups=1):
    """A convolution and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        middle = inputs * 3
        self.expand, self.depthwise = normed(inputs, middle, 1), normed(middle, middle, 3, stride, middle)
        self.project = normed(middle, outputs, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
        return x + y if self.skips else y


class Mobile(nn.Module):
    """Like MobileNetV2; the last image is flattened, so that the linear's columns have to follow the layout."""

    def __init__(self):
        super().__init__()
        self.stem = normed(3, 8, 3, 2)
        self.blocks = nn.Sequential(Bottleneck(8, 8, 1), Bottleneck(8, 12, 2), Bottleneck(12, 12, 1))
        self.fc = nn.Linear(12 * 3 * 3, 10)

    def forward(self, x):
        x = self.blocks(F.relu6(self.stem(x)))
        return self.fc(torch.flatten(F.max_pool2d(x, 2, ceil_mode=True), 1))


class UNet(nn.Module):
    """Down, up again through three kinds of transposed convolutions, with a concat, pools, and a softmax of pixels."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.pool, self.average = nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2)
        self.up1 = nn.ConvTranspose2d(12, 8, 3, 2, padding=1, output_padding=1)
        self.up2, self.up3 = nn.ConvTranspose2d(16, 11, 2, 2), nn.ConvTranspose2d(11, 6, 4, 2, 1)
        self.out = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(self.pool(a)))
        joined = torch.cat([self.up1(b), a], 1)
        return F.softmax(self.out(self.up3(self.average(self.up2(joined)))), 1)


class Block(nn.Module):
    """ResNet-20's block; where the shape changes, the shortcut subsamples and pads channels with zeros."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.conv2 = normed(inputs, outputs, 3, stride), normed(outputs, outputs, 3)
        self.extra, self.stride = (outputs - inputs) // 2, stride

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class ResNet(nn.Module):
    """ResNet-8 for images of 16 x 16, built as ResNet-20 is."""

    def __init__(self):
        super().__init__()
        self.stem = normed(3, 8, 3)
        self.layer1, self.layer2, self.layer3 = Block(8, 8, 1), Block(8, 16, 2), Block(16, 24, 2)
        self.linear = nn.Linear(24, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.stem(x)))))
        return self.linear(torch.flatten(F.avg_pool2d(x, 4), 1))


def settled(model, seed=0):
    """The model in eval mode, with weights and batch norms of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
            elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)):
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1, generator=generator)
    return model.eval()


def images(count=16, channels=3, rows=16, columns=16, seed=1):
    """Normal random images, channels first."""
    return torch.randn(count, channels, rows, columns, generator=torch.Generator().manual_seed(seed))


NETWORKS = {"mobile": (Mobile, images(rows=22, columns=22)), "unet": (UNet, images()), "resnet": (ResNet, images())}
