"""Small torch models of one thing each that a layout, a padding or a kernel could get wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.litert.networks import images


class Small(nn.Module):
    """What a function makes of these modules and an input."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


class Constants(nn.Module):
    """Tensors of the model that are added, one of them broadcast."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 3)
        generator = torch.Generator().manual_seed(3)
        self.channels = nn.Parameter(torch.randn(1, 6, 1, 1, generator=generator))
        self.places = nn.Parameter(torch.randn(1, 6, 10, 9, generator=generator))

    def forward(self, x):
        return self.last(self.conv(x) + self.channels + self.places)


class Tokens(nn.Module):
    """Patches as tokens, linears on them, and a sum with positions, as vision transformers have them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 5, 5)
        self.wide, self.narrow, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)
        self.positions = nn.Parameter(torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(3)))

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(tokens + self.narrow(F.hardswish(self.wide(tokens))))


IMAGES = images(12, 3, 10, 9)
CONV = {"a": lambda: nn.Conv2d(3, 8, 3)}


def small(function, x=IMAGES, **modules):
    """A case: what builds the model, and its input."""
    return (lambda: Small(function, **{name: make() for name, make in (modules or CONV).items()})), x


CASES = {
    "strides_with_padding_on_both_sides": small(
        lambda m, x: m.b(F.relu(m.a(x))), a=lambda: nn.Conv2d(3, 8, 3, 2, 1), b=lambda: nn.Conv2d(8, 4, 5, 2, 2)
    ),
    "dilation": small(lambda m, x: m.a(x), a=lambda: nn.Conv2d(3, 8, 3, padding=2, dilation=2)),
    "dilation_padded_by_less": small(lambda m, x: m.a(x), a=lambda: nn.Conv2d(3, 8, 3, padding=1, dilation=2)),
    "depthwise_with_a_multiplier": small(lambda m, x: m.a(x), a=lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3)),
    "groups": small(
        lambda m, x: m.b(m.a(x)), a=lambda: nn.Conv2d(3, 8, 1), b=lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4)
    ),
    "a_pointwise_layer_in_groups": small(
        lambda m, x: m.b(m.a(x)), a=lambda: nn.Conv2d(3, 8, 1), b=lambda: nn.Conv2d(8, 12, 1, groups=2)
    ),
    "max_pools_padded_and_rounded_up": small(
        lambda m, x: F.max_pool2d(F.max_pool2d(m.a(x), 3, 2, 1), 2, 2, ceil_mode=True), images(12, 3, 13, 12)
    ),
    "an_average_that_counts_its_padding": small(lambda m, x: m.a(F.avg_pool2d(x, 2, 2, padding=1))),
    "an_average_with_an_overhang": small(
        lambda m, x: m.a(F.avg_pool2d(x, 2, 2, ceil_mode=True)), images(12, 3, 11, 10)
    ),
    "a_mean_without_its_axes": small(
        lambda m, x: m.b(m.a(x).mean((2, 3))), **CONV, b=lambda: nn.Linear(8, 3)
    ),
    "a_mean_that_is_returned": small(lambda m, x: F.adaptive_avg_pool2d(m.a(x), 1)),
    "flattened_images": small(
        lambda m, x: m.b(F.relu(torch.flatten(m.a(x), 1))), **CONV, b=lambda: nn.Linear(448, 5)
    ),
    "flattened_images_that_are_returned": small(lambda m, x: torch.flatten(m.a(x), 1)),
    "flattened_images_in_a_concat": small(
        lambda m, x: m.c(torch.cat([torch.flatten(m.a(x), 1), torch.flatten(m.b(x), 1)], 1)),
        **CONV, b=lambda: nn.Conv2d(3, 2, 5), c=lambda: nn.Linear(508, 5),
    ),
    "one_linear_called_twice": small(
        lambda m, x: m.b(m.b(torch.flatten(m.a(x), 1))), a=lambda: nn.Conv2d(3, 2, 5), b=lambda: nn.Linear(60, 60)
    ),
    "one_result_twice": small(lambda m, x: (lambda y: (y, y, F.relu(y)))(m.a(x))),
    "a_sum_that_broadcasts": small(
        lambda m, x: m.a(x) + m.b(F.adaptive_avg_pool2d(x, 1)), **CONV, b=lambda: nn.Conv2d(3, 8, 1)
    ),
    "a_sum_with_itself": small(lambda m, x: (lambda y: y + y)(m.a(x))),
    "constants": (Constants, IMAGES),
    "constants_of_channels": small(
        lambda m, x: m.b(2 - F.relu(m.a(x)) * torch.linspace(-1.0, 2.0, 8)[:, None, None]),
        **CONV, b=lambda: nn.Conv2d(8, 4, 3, padding=1),
    ),
    "numbers": small(
        lambda m, x: m.b(abs(F.relu(m.a((x - 0.3) / 0.7)) / 3 - 0.2) + 0.1),
        a=lambda: nn.Conv2d(3, 8, 3, padding=1), b=lambda: nn.Conv2d(8, 4, 3, padding=1),
    ),
    "differences_and_powers": small(
        lambda m, x: (lambda y: m.b(x - y**2) - (F.relu(y) - y**3) * 0.5)(m.a(x)),
        a=lambda: nn.Conv2d(3, 3, 1), b=lambda: nn.Conv2d(3, 3, 3, padding=1),
    ),
    "scaled_tokens": small(
        lambda m, x: m.c(
            F.relu(m.b(m.a(x).flatten(2).transpose(1, 2))) * torch.linspace(-1.0, 2.0, 6)
            + torch.linspace(0.0, 1.0, 12)[:, None]
        ),
        images(12, 3, 8, 6), a=lambda: nn.Conv2d(3, 8, 2, 2), b=lambda: nn.Linear(8, 6), c=lambda: nn.Linear(6, 4),
    ),
    "functions_by_hand": small(
        lambda m, x: m.c(
            (lambda y: 0.5 * y * (1 + torch.tanh(0.7978845608 * (y + 0.044715 * y**3))))(
                m.b((lambda y: y * F.relu6(y + 3) / 6)(m.a(x)))
            )
        ),
        **CONV, b=lambda: nn.Conv2d(8, 8, 1), c=lambda: nn.Conv2d(8, 4, 1),
    ),
    "tokens": (Tokens, images(12, 3, 5, 10)),
    "signals": small(
        lambda m, x: m.c(torch.flatten(F.max_pool1d(F.relu(m.b(F.avg_pool1d(m.a(x), 2))), 2), 1)),
        torch.randn(16, 3, 20, generator=torch.Generator().manual_seed(2)),
        a=lambda: nn.Conv1d(3, 8, 5, padding=2), b=lambda: nn.Conv1d(8, 8, 3, padding=1, groups=8),
        c=lambda: nn.Linear(40, 3),
    ),
    "transposed_signals": small(
        lambda m, x: m.b(m.a(x)), torch.randn(16, 3, 20, generator=torch.Generator().manual_seed(2)),
        a=lambda: nn.Conv1d(3, 8, 3), b=lambda: nn.ConvTranspose1d(8, 9, 4, 2, 1),
    ),
    "axes_in_another_order_and_back": small(
        lambda m, x: m.b(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), **CONV, b=lambda: nn.Linear(8, 6)
    ),
    "nearest_upsampling": small(
        lambda m, x: m.b(F.interpolate(m.a(x), scale_factor=2)), **CONV, b=lambda: nn.Conv2d(8, 4, 1)
    ),
    "every_second_pixel_and_zeros_around": small(lambda m, x: F.pad(m.a(x)[:, :, ::2, ::2], (0, 1, 2, 3, 1, 1))),
    "transposed_with_output_padding": small(
        lambda m, x: m.b(m.a(x)), **CONV, b=lambda: nn.ConvTranspose2d(8, 17, (3, 2), (2, 3), (1, 0), (1, 2))
    ),
    "a_clamp_behind_a_pool": small(lambda m, x: torch.clamp(F.max_pool2d(m.a(x), 2), -0.3, 0.4)),
    "a_linear_on_columns": small(lambda m, x: m.a(x), a=lambda: nn.Linear(9, 4)),
    "features_that_become_images": small(
        lambda m, x: m.b(m.a(x).view(-1, 4, 3, 3)), torch.randn(9, 7, generator=torch.Generator().manual_seed(2)),
        a=lambda: nn.Linear(7, 36), b=lambda: nn.Conv2d(4, 2, 3),
    ),
}  # fmt: skip
