"""torch's attention and transformer layers taken apart, so that their linear layers can be quantized."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mpq_torch.modules.long_series import LongSeries
from mpq_torch.modules.recurrent import taken_apart
from mpq_torch.modules.transformer import Decoder, DecoderLayer, Encoder, EncoderLayer, Transformer


def opened(model: nn.Module, unrolled: bool = False, long: frozenset[nn.Module] = frozenset()) -> nn.Module:
    """The model, with torch's own attention, transformer encoder and recurrent layers replaced by ones that torch.fx
    sees into; recurrent layers of many steps where they are to be ``unrolled``, and cells always.

    long: recurrent layers of more steps than are unrolled (``long_series``).

    The names of submodules stay; the packed weight of an attention becomes those of q_proj, k_proj and v_proj. An
    attention with keys or values of other sizes, or with a bias or a zero added to them, stays as it is, and so does a
    layer with a hook.
    """
    made: dict[nn.Module, nn.Module] = {}
    for module in reversed(list(model.modules())):  # what is inside a module comes behind it
        for name, child in module._modules.items():
            if child is not None and made.get(child, child) is not child:
                setattr(module, name, made[child])
        made[module] = _opened(module, unrolled, module in long)
    return made[model]


def _opened(module: nn.Module, unrolled: bool, long: bool) -> nn.Module:
    if module._forward_hooks or module._forward_pre_hooks:
        return module
    if long and isinstance(module, nn.LSTM | nn.GRU | nn.RNN):
        return LongSeries(module)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return taken_apart(module, unrolled)
    if type(module) is nn.MultiheadAttention and _plain(module):
        return Attention(module)
    if type(module) is nn.TransformerEncoderLayer and _apart(module.self_attn):
        return EncoderLayer(module)
    if type(module) is nn.TransformerDecoderLayer and _apart(module.self_attn, module.multihead_attn):
        return DecoderLayer(module)
    if type(module) is nn.TransformerDecoder and all(isinstance(layer, DecoderLayer) for layer in module.layers):
        return Decoder(module)
    if type(module) is nn.Transformer and isinstance(module.encoder, Encoder) and isinstance(module.decoder, Decoder):
        return Transformer(module)
    if type(module) is nn.TransformerEncoder and all(isinstance(layer, EncoderLayer) for layer in module.layers):
        return Encoder(module)
    return module


def _apart(*layers: nn.Module) -> bool:
    return all(isinstance(layer, Attention) for layer in layers)


def _plain(layer: nn.MultiheadAttention) -> bool:
    return layer.in_proj_weight is not None and layer.bias_k is None and not layer.add_zero_attn


@fx.wrap
def attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    heads: int,
    first: bool,
    dropped: float,
) -> Tensor:
    """softmax(q k^T / sqrt(d) + mask) v of all heads. first: whether the batch is the first axis; see Products."""
    bias = None if mask is None else added(mask)
    queries, keys, values = (_split(x, heads, first) for x in (q, k, v))
    y = F.scaled_dot_product_attention(queries, keys, values, bias, dropped)
    y = y.transpose(1, 2).flatten(2)
    if q.dim() == 2:
        return y[0]
    return y if first else y.transpose(0, 1)


@fx.wrap
def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None, heads: int, first: bool, averaged: bool) -> Tensor:
    """What the values are summed with, [batch, steps, steps of keys]; heads behind the batch unless averaged."""
    queries, bias = _split(q, heads, first), None if mask is None else added(mask)
    products = queries @ _split(k, heads, first).transpose(-2, -1) / math.sqrt(queries.shape[-1])
    found = torch.softmax(products if bias is None else products + bias, -1)
    found = found.mean(1) if averaged else found
    return found[0] if q.dim() == 2 else found


class Products(nn.Module):
    """What nn.MultiheadAttention does between its linear layers, in float.

    q, k, v: [batch, steps, features], or steps first, or without a batch, as of nn.MultiheadAttention. mask: of
    ``hiding``, or None.
    """

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first, self.dropout = layer.num_heads, layer.batch_first, layer.dropout
        self.train(layer.training)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        dropped = self.dropout if self.training else 0.0
        return attended(q, k, v, mask, self.heads, self.batch_first, dropped)


class Shares(nn.Module):
    """What nn.MultiheadAttention sums the values with, in float; the mean over its heads, if averaged."""

    def __init__(self, layer: nn.MultiheadAttention, averaged: bool) -> None:
        super().__init__()
        self.heads, self.batch_first, self.averaged = layer.num_heads, layer.batch_first, averaged

    def forward(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        return attention_weights(q, k, mask, self.heads, self.batch_first, self.averaged)


def _split(x: Tensor, heads: int, first: bool) -> Tensor:
    """[batch, heads, steps, features of one head]."""
    x = x[None] if x.dim() == 2 else x if first else x.transpose(0, 1)
    split: Tensor = x.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def hiding(padding: Tensor | None, mask: Tensor | None, heads: int) -> Tensor | None:
    """Both masks of nn.MultiheadAttention in one that is put on products [batch, heads, steps, steps of keys].

    Truth values, where True hides, or numbers that are added; None where nothing is hidden.
    """
    if mask is not None and mask.dim() == 3:
        mask = mask.unflatten(0, (-1, heads))
    if padding is None:
        return mask
    padding = padding[:, None, None, :] if padding.dim() == 2 else padding
    if mask is None:
        return padding
    if mask.dtype == torch.bool and padding.dtype == torch.bool:
        return torch.logical_or(mask, padding)
    return added(mask) + added(padding)


def added(mask: Tensor) -> Tensor:
    """What a mask adds to products; True hides."""
    return mask if mask.dtype != torch.bool else torch.where(mask, -math.inf, 0.0)


class Attention(nn.Module):
    """nn.MultiheadAttention as four linear layers and what is between them."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (_projection(layer, index) for index in range(3))
        self.products = Products(layer)
        self.shares, self.averaged = Shares(layer, averaged=False), Shares(layer, averaged=True)
        self.out_proj = nn.Linear(layer.embed_dim, layer.embed_dim, layer.out_proj.bias is not None)
        self.out_proj.weight, self.out_proj.bias = layer.out_proj.weight, layer.out_proj.bias
        self.train(layer.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        q, k = self.q_proj(query), self.k_proj(key)
        mask = hiding(key_padding_mask, attn_mask, self.products.heads)
        y = self.out_proj(self.products(q, k, self.v_proj(value), mask))
        if not need_weights:
            return y, None
        shares = self.averaged if average_attn_weights else self.shares
        return y, shares(q, k, mask)


def _projection(layer: nn.MultiheadAttention, index: int) -> nn.Linear:
    size = layer.embed_dim
    rows = slice(index * size, (index + 1) * size)
    made = nn.Linear(size, size, layer.in_proj_bias is not None)
    made.weight = nn.Parameter(layer.in_proj_weight.detach()[rows].clone())
    if layer.in_proj_bias is not None:
        made.bias = nn.Parameter(layer.in_proj_bias.detach()[rows].clone())
    return made
