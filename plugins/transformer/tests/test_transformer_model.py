"""The transformer keeps the interface's promises and is PyTorch's encoder with other weights."""

from __future__ import annotations

import math

import pytest
import torch
from seqbench_transformer import Transformer, TransformerConfig, positions
from torch import nn

from seqbench.errors import ConfigError
from seqbench.flops import count_flops
from seqbench.spec import Signature
from seqbench.testing import check_model

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")
SMALL = TransformerConfig(channels=12, layers=2, heads=3, mlp_channels=20)


def small(target="sequence", **changes):
    """A small network in double precision."""
    torch.manual_seed(0)
    config = TransformerConfig(**(vars(SMALL) | changes))
    return Transformer(config, SMNIST.model_copy(update={"target": target})).double().eval()


@pytest.mark.parametrize("preset", list(Transformer.presets))
def test_conforms(preset):
    """Every preset passes the conformance suite."""
    check_model("transformer", preset)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("100k", (100_554, 100_682)),
        ("lra-image", (68_106, 68_362)),
        ("base", (18_909_194, 18_910_218)),
    ],
)
def test_sizes_are_those_of_the_readme(preset, parameters):
    """With 1 and with 3 input channels, and 10 classes."""
    for channels, expected in zip((1, 3), parameters, strict=True):
        signature = SMNIST.model_copy(update={"in_channels": channels})
        network = Transformer(Transformer.presets[preset], signature)
        assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("target", ["sequence", "step"])
@torch.no_grad()
def test_blocks_are_pytorchs_encoder_layers(target):
    """``nn.TransformerEncoderLayer``, pre-norm with GELU and biases of zero in its attention."""
    network = small(target)
    x = torch.randn(2, 1, 15, dtype=torch.float64)
    y = network.encoder(x.mT)
    y = y + positions(y)
    mask = nn.Transformer.generate_square_subsequent_mask(15, dtype=torch.float64)
    for block in network.blocks:
        layer = nn.TransformerEncoderLayer(
            12, 3, 20, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
        ).eval()
        layer.self_attn.in_proj_weight.copy_(block.attention.project.weight)
        layer.self_attn.in_proj_bias.zero_()
        layer.self_attn.out_proj.weight.copy_(block.attention.mix.weight)
        layer.self_attn.out_proj.bias.zero_()
        for mine, theirs in (
            (block.mlp[0], layer.linear1),
            (block.mlp[3], layer.linear2),
            (block.norm1, layer.norm1),
            (block.norm2, layer.norm2),
        ):
            theirs.load_state_dict(mine.state_dict())
        y = layer(y, src_mask=mask if target == "step" else None)
    y = network.decoder(network.norm(y))
    expected = y.mT if target == "step" else y.mean(1)
    torch.testing.assert_close(network(x), expected)


def test_positions_are_sines_and_cosines_of_the_step():
    """Wavelengths are a geometric progression from 2 pi to 10,000 times 2 pi."""
    got = positions(torch.zeros(1, 16_000, 6, dtype=torch.float64))
    for channel in range(3):
        angle = 15_999 / 10_000 ** (2 * channel / 6)
        assert got[15_999, channel].item() == pytest.approx(math.sin(angle), abs=1e-9)
        assert got[15_999, 3 + channel].item() == pytest.approx(math.cos(angle), abs=1e-9)
    assert torch.equal(got[0], torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=torch.float64))


@torch.no_grad()
def test_an_answer_to_a_sequence_depends_on_every_step_and_on_their_order():
    """No mask stands between the steps of a sequence that has one answer."""
    network = small()
    x = torch.randn(1, 1, 20, dtype=torch.float64)
    answer = network(x)
    for step in (0, 10, 19):
        changed = x.clone()
        changed[..., step] += 1
        assert (network(changed) - answer).abs().max() > 1e-6
    assert (network(x.flip(-1)) - answer).abs().max() > 1e-6


@pytest.mark.parametrize("shape", [(1, 784, "sequence"), (3, 64, "sequence"), (2, 100, "step")])
@pytest.mark.parametrize("head_channels", [None, 5])
def test_flops(shape, head_channels):
    """2 * steps * inputs * outputs a linear map; attention 2 * steps^2 * width, twice a layer.

    The whole square of steps, also under the causal mask, as by convention.
    """
    channels_in, length, target = shape
    channels, layers, heads, mlp = 12, 2, 3, 20
    width = heads * (head_channels or channels // heads)
    linear = 2 * length * (4 * channels * width + 2 * channels * mlp)
    expected = 2 * length * channels_in * channels + layers * (linear + 4 * length**2 * width)
    expected += 2 * (length if target == "step" else 1) * channels * 10
    signature = Signature(in_channels=channels_in, shape=(length,), out_features=10, target=target)
    config = TransformerConfig(channels, layers, heads, head_channels, mlp)
    network = Transformer(config, signature)
    assert count_flops(network, torch.zeros(1, channels_in, length)) == expected


def test_dropout_thins_in_training_alone():
    """Also the attention weights, where that is set."""
    for setting in ({"dropout": 0.5}, {"dropout": 0.0, "attention_dropout": 0.5}):
        network = small(**setting)
        x = torch.randn(1, 1, 30, dtype=torch.float64)
        assert torch.equal(network(x), network(x))
        network.train()
        assert not torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    "wrong",
    [{"channels": 0}, {"channels": 10}, {"heads": 0}, {"head_channels": 0}, {"dropout": 1.0}],
    ids=str,
)
def test_refuses_what_cannot_be(wrong):
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TransformerConfig(**({"channels": 12, "heads": 3} | wrong))


def test_refuses_odd_channels():
    """Positions come in pairs of sine and cosine."""
    with pytest.raises(ConfigError, match="even"):
        TransformerConfig(channels=9, heads=3)
