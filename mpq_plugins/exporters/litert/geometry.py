"""Explicit padding in the terms of LiteRT, which knows "same" and "valid" alone, and a pad of its own before an op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.node import Node, Shape
from mpq_plugins.graph.runner import Sides, Sizes
from mpq_plugins.graph.windows import inside, same_padding, with_overhang

Word = Literal["SAME", "VALID"]
_PREFIXES = {
    "stride": 1,
    "dilation": 1,
    "kernel": 1,
    "overhang": 0,
    "padding": (0, 0),
}


@dataclass(frozen=True)
class Padding:
    """What is put around rows and columns before the op, and the op's own padding."""

    before: Sides
    word: Word

    @property
    def pads(self) -> bool:
        """Whether anything is put around the input."""
        return any(side for sides in self.before for side in sides)


NONE: Sides = ((0, 0), (0, 0))


def as_images(node: Node) -> Node:
    """A convolution or pooling of signals as one of images of one row; of images, as it is."""
    if len(node.shape) == 4:
        return node
    attrs = {name: (_PREFIXES[name], *value) if name in _PREFIXES else value for name, value in node.attrs.items()}
    if "times" in attrs:
        batch, columns, channels = attrs["times"]
        attrs["times"] = (batch, 1, columns, channels)
    weight = None if node.weight is None or node.op == "linear" else node.weight[:, :, None]
    return replace(node, op=node.op.replace("1d", "2d"), shape=with_row(node.shape), weight=weight, attrs=attrs)


def with_row(shape: Shape) -> Shape:
    """The shape of a signal as an image of one row."""
    return (shape[0], 1, *shape[1:])


def same_sides(sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes = (1, 1)) -> Sides:
    """The padding that LiteRT means by "same", for each axis."""
    return tuple(same_padding(*each) for each in zip(sizes, kernel, stride, dilation, strict=True))


def convolution_padding(node: Node, shape: Shape) -> Padding:
    """Of a convolution of images; shape: of its input."""
    a, padding = node.attrs, _sides(node.attrs["padding"])
    assert node.weight is not None
    if not _any(padding):
        return Padding(NONE, "VALID")
    same = same_sides(inside(shape, "NHWC"), node.weight.shape[2:], a["stride"], a["dilation"])
    return Padding(NONE, "SAME") if same == padding else Padding(padding, "VALID")


def max_pool_padding(node: Node, shape: Shape) -> Padding:
    """Of a max pooling, whose padding must never win. Raises UnsupportedOp for one that is dilated."""
    a, padding = node.attrs, _sides(with_overhang(node))
    if set(a["dilation"]) != {1}:
        raise UnsupportedOp(f"{node.name}: LiteRT has no max pooling with dilation {a['dilation']}", [node.name])
    if not _any(padding):
        return Padding(NONE, "VALID")
    same = same_sides(inside(shape, "NHWC"), a["kernel"], a["stride"])
    return Padding(NONE, "SAME") if same == padding else Padding(padding, "VALID")


def average_padding(node: Node, shape: Shape) -> Padding:
    """Of an average pooling: LiteRT leaves "same" padding out of the count, and counts zeros that are put around.

    Raises UnsupportedOp for a padding that is neither.
    """
    a = node.attrs
    padding = _sides(a["padding"])
    counted = padding if a["counts_padding"] else NONE
    left = tuple(
        (before - b, after - c) for (before, after), (b, c) in zip(_sides(with_overhang(node)), counted, strict=True)
    )
    if not _any(left):
        return Padding(counted, "VALID")
    sizes = tuple(n + before + after for n, (before, after) in zip(inside(shape, "NHWC"), counted, strict=True))
    if same_sides(sizes, a["kernel"], a["stride"]) != left:
        raise UnsupportedOp(
            f"{node.name}: an average over windows of {a['kernel']} that leaves a padding of {left} out of its count "
            "is none that LiteRT has; let it count its padding, or pad by what 'same' stands for",
            [node.name],
        )
    return Padding(counted, "SAME")


@dataclass(frozen=True)
class Cropping:
    """A transposed convolution in LiteRT's terms: its own padding, the output of the op, and what of it is kept."""

    word: Word
    sizes: Sizes
    front: Sizes
    kept: Sizes

    @property
    def cuts(self) -> bool:
        """Whether anything of the op's output is cut off."""
        return self.sizes != self.kept


def cropping_of(node: Node, shape: Shape) -> Cropping:
    """Of a transposed convolution of images; shape: of its input. LiteRT's own output has to be as long as its padding
    says, give or take what a stride leaves over; of a longer one a part is kept.

    Raises UnsupportedOp for one that is dilated, or that puts out more than the stride leaves over.
    """
    a = node.attrs
    assert node.weight is not None
    if set(a["dilation"]) != {1}:
        raise UnsupportedOp(
            f"{node.name}: LiteRT has no transposed convolution with dilation {a['dilation']}", [node.name]
        )
    wanted, kernel, stride = inside(node.shape, "NHWC"), node.weight.shape[2:], a["stride"]
    front = tuple(before for before, _ in _sides(a["padding"]))
    sizes = inside(shape, "NHWC")
    as_same = tuple(before for before, _ in same_sides(wanted, kernel, stride))
    if as_same == front and all(-(-out // s) == n for out, s, n in zip(wanted, stride, sizes, strict=True)):
        return Cropping("SAME", wanted, front, wanted)
    wholes = tuple((n - 1) * s + k for n, s, k in zip(sizes, stride, kernel, strict=True))
    needed = tuple(max(whole, cut + out) for whole, cut, out in zip(wholes, front, wanted, strict=True))
    if any(out >= whole + s for out, whole, s in zip(needed, wholes, stride, strict=True)):
        raise UnsupportedOp(
            f"{node.name}: LiteRT's transposed convolution gives at most a stride less one beyond {wholes}, and "
            f"{needed} are asked for; use less output padding",
            [node.name],
        )
    return Cropping("VALID", needed, front, wanted)


def _sides(padding: Sequence[Sequence[int]]) -> Sides:
    return tuple((int(before), int(after)) for before, after in padding)


def _any(sides: Sides) -> bool:
    return any(side for pair in sides for side in pair)
