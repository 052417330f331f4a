"""How large a LiteRT file is, and how large its weights would be at their own bits."""

from __future__ import annotations

from dataclasses import dataclass

from mpq_plugins.exporters.litert.flatbuffer import unpacked
from mpq_plugins.recipe.recipe import Recipe


@dataclass(frozen=True)
class LitertSizes:
    """Bytes: of the file; of the weights in it, as int8 or packed int4; of the weights at their own bits."""

    file_bytes: int
    weight_bytes_stored: int
    weight_bytes_of_bits: float

    def __str__(self) -> str:
        return (
            f"{self.file_bytes:,} bytes, of which {self.weight_bytes_stored:,} are weights; "
            f"their bits alone would need {self.weight_bytes_of_bits:,.0f}"
        )


def sizes(flat: bytes, recipe: Recipe) -> LitertSizes:
    """What the file holds, and what the bits of the recipe alone would need."""
    model = unpacked(flat)
    weights = {entry.site for entry in recipe.weights}
    stored = sum(
        len(model.buffers[tensor.buffer].data)
        for tensor in model.subgraphs[0].tensors
        if tensor.name.decode() in weights
    )
    return LitertSizes(len(flat), stored, recipe.weight_bytes)
