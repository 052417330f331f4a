"""Inputs of the one primitive on which every framework must agree with the NumPy reference.

Forward and gradients are expected from ``ops.NUMPY`` and ``ops.fake_quantize_gradients`` in float64; all
numbers here are exact in float32, so a framework in float32 differs by its own rounding alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH
from mpq_plugins.array_ops.reference import NUMPY, Gradients, fake_quantize_gradients
from mpq_plugins.array_ops.surrogates import ROUNDINGS

NOISY = ("gaussian_noise", "uniform_noise")
"""The surrogates that draw at random: their gradients are equal to nobody's."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class GradientCase:
    """One call of ``fake_quantize`` and the gradient that arrives at its result; arrays are float32.

    step, low, high broadcast against x; each has a shape of its own, in which its gradient comes back.
    """

    name: str
    x: Floats
    step: Floats
    low: Floats
    high: Floats
    upstream: Floats
    rounding: str = STRAIGHT_THROUGH
    strict: bool = False
    delta: float = DELTA
    clip_first: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``fake_quantize``."""
        clipping = {"strict": self.strict, "clip_first": self.clip_first}
        return {"rounding": self.rounding, "delta": self.delta, **clipping}

    def value(self) -> NDArray[Any]:
        """What the reference quantizes x to, float64."""
        x, step, low, high = (np.asarray(a, np.float64) for a in (self.x, self.step, self.low, self.high))
        return np.asarray(NUMPY.fake_quantize(x, step, low, high, clip_first=self.clip_first))

    def gradients(self) -> Gradients:
        """What the reference passes back."""
        return fake_quantize_gradients(self.x, self.step, self.low, self.high, self.upstream, **self.options)


def gradient_cases() -> list[GradientCase]:
    """Every case: random and edge inputs, per tensor and per channel, strict, clipped first or neither, all surrogates.

    >>> len({case.name for case in gradient_cases()}) == len(gradient_cases())
    True
    """
    return [*_inputs(), *_inputs(strict=True), *_inputs(clip_first=True), *_surrogates(), *_surrogates(True)]


def _inputs(strict: bool = False, clip_first: bool = False) -> Iterator[GradientCase]:
    rng = np.random.default_rng(0)
    word = "strict" if strict else "clipped-first" if clip_first else "plain"

    def case(name: str, x: Any, step: Any, low: Any, high: Any) -> GradientCase:
        values = np.asarray(x, np.float32)
        upstream = rng.normal(size=values.shape).astype(np.float32)
        step, low, high = (np.asarray(a, np.float32) for a in (step, low, high))
        return GradientCase(f"{name}-{word}", values, step, low, high, upstream, strict=strict, clip_first=clip_first)

    image = rng.normal(size=(3, 4, 5, 6))
    channels = np.ldexp(1.0, rng.integers(-4, 0, 6))
    codes = np.arange(-7, 8) / 2  # every second one is a tie
    yield case("random-signed-tensor", image, 0.25, -8, 7)
    yield case("random-unsigned-tensor", np.abs(image), 0.125, 0, 15)
    yield case("random-free-step", image, 0.3, -4, 3)
    yield case("random-channels-last", image, channels, -2, 1)
    yield case("random-channels-inside", image, channels[:5].reshape(5, 1), -2, 1)
    yield case("random-low-and-high-by-channel", image, channels, -channels * 16, channels * 14)
    yield case("random-clip-between-codes", image, 0.25, -3.75, 4.5)
    yield case("ties", codes * 0.5, 0.5, -8, 7)
    yield case("at-the-clip", [-1.0, -0.99, 0.74, 0.75, 0.76], 0.25, -4, 3)
    yield case(
        "just-before-the-tie-at-the-clip",
        np.nextafter(np.array([-1.125, 0.875], np.float32), np.float32(0)),
        0.25,
        -4,
        3,
    )
    yield case("on-the-tie-at-the-clip", [-1.125, 0.875], 0.25, -4, 3)
    yield case("far-beyond", [-1e6, 1e6, -3.0, 3.0], 0.25, -4, 3)
    yield case("zeros", np.zeros((2, 3)), 0.25, -4, 3)
    yield case("one-bit-unsigned", [-0.5, 0.4, 0.5, 0.6, 1.5, 1.6], 1.0, 0, 1)
    yield case("empty", np.zeros((0, 3)), 0.25, -4, 3)


def _surrogates(clip_first: bool = False) -> Iterator[GradientCase]:
    rng = np.random.default_rng(1)
    x, upstream = rng.normal(size=(2, 40)).astype(np.float32)
    step, low, high = (np.asarray(a, np.float32) for a in (0.25, -3.75 if clip_first else -4, 3))
    word = "-clipped-first" if clip_first else ""
    for rounding in ROUNDINGS:
        if rounding not in NOISY:
            options: dict[str, Any] = {"delta": 0.25, "clip_first": clip_first}
            yield GradientCase(f"surrogate-{rounding}{word}", x, step, low, high, upstream, rounding, **options)
