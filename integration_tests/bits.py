"""Bits that a test may ask of any processor."""

from mpq_plugins import plugins


def widest(target: str) -> int:
    """The most bits of a weight on a target that this processor adds exactly: 7 where its kernels lack VNNI."""
    return max(candidate.bits for candidate in plugins.target(target).weight_candidates("conv2d"))
