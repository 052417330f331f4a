"""Saturation: kernels that add pairs of products in 16 bits, and the bit-widths that overflow there."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from mpq_plugins.errors import MPQError, TargetError
from mpq_plugins.hardware.op_support import as_tuple
from mpq_plugins.stored.schema import Schema

X86_MACHINES = ("x86_64", "amd64", "i386", "i686")


class PairSaturation(Schema):
    """``pairs`` products of an unsigned activation and a signed weight are added in a saturating integer.

    On x86 processors without VNNI, int8 kernels use vpmaddubsw, which clips the sum of two products
    at 32767: 8-bit weights with 8-bit activations overflow it, and come out wrong without a word.

    limit: the largest sum that survives. unless_flags: processor flags (names of /proc/cpuinfo), any
    of which means that the processor has a better instruction. The products are those of activation
    codes as they are stored, the lowest as 0: signed and unsigned ones reach 2**bits - 1 alike.
    """

    error: ClassVar[type[MPQError]] = TargetError
    limit: int = Field(default=32767, gt=0)
    pairs: int = Field(default=2, gt=0)
    unless_flags: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ("avx512_vnni", "avx_vnni")

    def largest_sum(self, weight_bits: int, activation_bits: int, narrow: bool = False) -> int:
        """The largest magnitude that a sum of ``pairs`` products can have; narrow: of the weight.

        >>> PairSaturation().largest_sum(weight_bits=8, activation_bits=8)
        65280
        """
        return int(self.pairs * (2 ** (weight_bits - 1) - int(narrow)) * (2**activation_bits - 1))

    def saturates(self, weight_bits: int, activation_bits: int, narrow: bool = False) -> bool:
        """Whether products of these bit-widths could pass the limit on a processor that has it.

        >>> limit = PairSaturation()
        >>> limit.saturates(8, 8), limit.saturates(8, 7), limit.saturates(7, 8)
        (True, False, False)
        """
        return self.largest_sum(weight_bits, activation_bits, narrow) > self.limit

    def applies(self, flags: frozenset[str] | None = None) -> bool:
        """Whether a processor has the limit; by default this one. An x86 of unknown flags counts as having it."""
        flags = processor_flags() if flags is None else flags
        return "x86" in flags and not flags.intersection(self.unless_flags)


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """The flags of this processor by /proc/cpuinfo, and "x86" on an x86; elsewhere only the latter."""
    family = {"x86"} if platform.machine().lower() in X86_MACHINES else set()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset(family)
    return frozenset(family | cpuinfo_flags(text))


def cpuinfo_flags(text: str) -> set[str]:
    """The flags of the first processor in the text of /proc/cpuinfo.

    >>> sorted(cpuinfo_flags("model : 1\\nflags : fma avx2\\n"))
    ['avx2', 'fma']
    """
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return set(value.split())
    return set()
