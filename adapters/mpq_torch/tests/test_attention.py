"""torch's attention layers taken apart compute what they computed, and their linear layers are quantized."""

import copy

import pytest
import torch
from torch import nn

from mpq_torch import fx, pt2e
from mpq_torch.modules.attention import Attention, opened

SIZE, HEADS = 8, 2
CAUSAL = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "given", [{}, {"attn_mask": CAUSAL}, {"key_padding_mask": PADDING}, {"average_attn_weights": False}]
)
def test_an_attention_taken_apart_gives_the_same_values_and_weights(batch_first, given):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(SIZE, HEADS, batch_first=batch_first).eval()
    nn.init.normal_(layer.in_proj_bias)
    x = torch.randn(3, 5, SIZE)
    x = x if batch_first else x.transpose(0, 1)
    wanted, apart = layer(x, x, x, **given), opened(layer)
    assert isinstance(apart, Attention)
    for got, expected in zip(apart(x, x, x, **given), wanted, strict=True):
        torch.testing.assert_close(got, expected)


def test_an_attention_with_keys_of_another_size_stays_as_it_is():
    layer = nn.MultiheadAttention(SIZE, HEADS, kdim=4)
    assert opened(layer) is layer


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_s_linear_layers_are_quantized_and_int8_is_the_simulation(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(SIZE, HEADS, 16, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    model, x = nn.Sequential(nn.Linear(4, SIZE), encoder, nn.Linear(SIZE, 3)).eval(), torch.randn(3, 5, 4)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=7, activation_bits=8, progress=False)
    assert "1.layers.0.self_attn.q_proj.weight" in recipe
    # by hand, for each of 5 elements: linears of 4 * 8, 4 times 8 * 8, 2 times 8 * 16, 8 * 3; products of 2 * 5 * 8
    assert (recipe.macs, recipe.quantized_macs) == (5 * 648, 1)
    assert "no integer kernel for LayerNorm" in str(recipe)
    on_grid = fx.constrain(model, recipe, [x])
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe, example_inputs=x), x).raise_if_different()


MODELS = {
    "a decoder": (nn.TransformerDecoder(nn.TransformerDecoderLayer(SIZE, HEADS, 16, batch_first=True), 2), {}),
    "norms first": (
        nn.TransformerDecoderLayer(SIZE, HEADS, 16, batch_first=True, norm_first=True),
        {"tgt_mask": CAUSAL},
    ),
    "a whole transformer": (
        nn.Transformer(SIZE, HEADS, 1, 1, 16, batch_first=True),
        {"tgt_mask": CAUSAL, "src_key_padding_mask": PADDING},
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_decoders_taken_apart_give_the_same_values(kind):
    torch.manual_seed(0)
    model, given = MODELS[kind]
    x, y = torch.randn(3, 5, SIZE), torch.randn(3, 5, SIZE)
    wanted = model.eval()(x, y, **given)  # with gradients: torch's fast path computes zeros where padding is
    apart = opened(copy.deepcopy(model))
    assert not any(type(module).__module__.endswith("nn.modules.transformer") for module in apart.modules())
    torch.testing.assert_close(apart(x, y, **given), wanted)


class Cells(nn.Module):
    """A recurrent cell called in a loop, and attention whose weights are read."""

    def __init__(self):
        super().__init__()
        self.first, self.cell = nn.Linear(4, SIZE), nn.GRUCell(SIZE, SIZE)
        self.attention, self.last = nn.MultiheadAttention(SIZE, HEADS, batch_first=True), nn.Linear(SIZE, 3)

    def forward(self, x):
        x, state, states = self.first(x), None, []
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
            states.append(state)
        y, shares = self.attention(*[torch.stack(states, 1)] * 3)
        return self.last(shares @ y)


@pytest.mark.parametrize("way", [fx, pt2e])
def test_cells_in_a_loop_are_quantized_and_weights_of_attention_are_float_parts(way):
    torch.manual_seed(0)
    model, x = Cells().eval(), torch.randn(3, 5, 4)
    target = "torch-pt2e" if way is pt2e else "torch-x86"
    recipe = way.search(model, [x], target, weight_bits=7, activation_bits=8, progress=False)
    assert recipe.float_weights == {}
    assert recipe.float_ops == ("attention.products.softmax8", "attention.averaged")
    on_grid = way.constrain(model, recipe, [x])
    simulated = way.simulate(on_grid, recipe, example_inputs=x)
    way.verify(way.quantize(on_grid, recipe, x), simulated, x).raise_if_different()
