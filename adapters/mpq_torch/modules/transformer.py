"""torch's transformer layers without their fast paths, for torch.fx to see."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mpq_torch.modules.layer import Layer


class EncoderLayer(nn.Module):
    """nn.TransformerEncoderLayer without its fast path."""

    self_attn: nn.MultiheadAttention
    norm1: Layer
    norm2: Layer
    linear1: Layer
    linear2: Layer
    dropout: Layer
    dropout1: Layer
    dropout2: Layer
    activation: Layer

    def __init__(self, layer: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        for name, child in layer.named_children():
            setattr(self, name, child)
        self.norm_first, self.activation = layer.norm_first, layer.activation
        self.train(layer.training)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        return self.dropout1(self.self_attn(x, x, x, padding, False, mask)[0])

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class Encoder(nn.Module):
    """nn.TransformerEncoder without its fast path."""

    def __init__(self, encoder: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers, self.norm = encoder.layers, encoder.norm
        self.train(encoder.training)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class DecoderLayer(nn.Module):
    """nn.TransformerDecoderLayer, which torch.fx takes for one op."""

    self_attn: nn.MultiheadAttention
    multihead_attn: nn.MultiheadAttention
    norm1: Layer
    norm2: Layer
    norm3: Layer
    linear1: Layer
    linear2: Layer
    dropout: Layer
    dropout1: Layer
    dropout2: Layer
    dropout3: Layer
    activation: Layer

    def __init__(self, layer: nn.TransformerDecoderLayer) -> None:
        super().__init__()
        for name, child in layer.named_children():
            setattr(self, name, child)
        self.norm_first, self.activation = layer.norm_first, layer.activation
        self.train(layer.training)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        own, other = (tgt_mask, tgt_key_padding_mask), (memory_mask, memory_key_padding_mask)
        if self.norm_first:
            x = tgt + self._attend(self.norm1(tgt), *own)
            x = x + self._read(self.norm2(x), memory, *other)
            return x + self._feed(self.norm3(x))
        x = self.norm1(tgt + self._attend(tgt, *own))
        x = self.norm2(x + self._read(x, memory, *other))
        return self.norm3(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        return self.dropout1(self.self_attn(x, x, x, padding, False, mask)[0])

    def _read(self, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        return self.dropout2(self.multihead_attn(x, memory, memory, padding, False, mask)[0])

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class Decoder(nn.Module):
    """nn.TransformerDecoder, which torch.fx takes for one op."""

    def __init__(self, decoder: nn.TransformerDecoder) -> None:
        super().__init__()
        self.layers, self.norm = decoder.layers, decoder.norm
        self.train(decoder.training)

    def forward(self, tgt: Tensor, memory: Tensor, *masks: Any, **named: Any) -> Tensor:
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, **named)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(nn.Module):
    """nn.Transformer, which torch.fx takes for one op."""

    def __init__(self, model: nn.Transformer) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder
        self.train(model.training)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        found: Tensor = self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return found
