"""FlexTCN keeps the interface's promises, the official sizes and the masks' learning rate."""

from __future__ import annotations

import pytest
import torch
from seqbench_flexconv import FlexTCN, FlexTCNConfig

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.testing import check_model

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")


@pytest.mark.parametrize("preset", list(FlexTCN.presets))
def test_conforms(preset: str) -> None:
    """Every preset passes the conformance suite."""
    check_model("flexconv", preset)


@pytest.mark.parametrize(
    ("blocks", "in_channels", "parameters"),
    [
        (2, 1, 105_548),
        (2, 3, 107_588),
        (4, 1, 239_436),
        (4, 3, 241_476),
        (6, 1, 373_324),
        (6, 3, 375_364),
    ],
)
def test_presets_have_the_official_sizes(blocks: int, in_channels: int, parameters: int) -> None:
    """Parameter counts are those of the official code."""
    signature = SMNIST.model_copy(update={"in_channels": in_channels})
    network = FlexTCN(FlexTCN.presets[f"flextcn-{blocks}"], signature)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(("length", "taps"), [(784, 64), (1024, 83), (16000, 1288)])
def test_kernels_start_at_the_official_lengths(length: int, taps: int) -> None:
    """The initial kernel length at the lengths of sMNIST, sCIFAR-10 and Speech Commands."""
    network = FlexTCN(FlexTCNConfig(), SMNIST.model_copy(update={"shape": (length,)}))
    assert {conv.taps(length) for b in network.blocks for conv in (b.conv1, b.conv2)} == {taps}


def test_masks_learn_at_a_tenth_of_the_rate_and_do_not_decay() -> None:
    """One group holds mean and width of all four masks; the others go at the full rate."""
    network = FlexTCN(FlexTCNConfig(), SMNIST)
    *others, masks = network.param_groups()
    assert (masks.learning_rate_scale, masks.decay, len(masks.parameters)) == (0.1, False, 8)
    named = dict(network.named_parameters())
    assert {id(p) for p in masks.parameters} == {id(p) for n, p in named.items() if ".mask." in n}
    assert all(group.learning_rate_scale == 1.0 for group in others)


def test_masks_widen_where_that_helps() -> None:
    """A target ten steps back, outside of the initial kernel, pulls the width up."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(64,), out_features=1, target="step")
    network = FlexTCN(FlexTCNConfig(channels=8, dropout=0.0), signature)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    layer = network.blocks[0].conv1
    before = layer.taps(64)
    for _ in range(60):
        x = torch.randn(16, 1, 64)
        loss = (network(x)[..., 20:] - x[..., :-20]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(c.taps(64) for b in network.blocks for c in (b.conv1, b.conv2)) > before


def test_kernel_decay_adds_the_norms_of_masked_kernels() -> None:
    """The penalty is kernel_decay times the norms of what is convolved with."""
    torch.manual_seed(0)
    network = FlexTCN(FlexTCNConfig(channels=4, kernel_decay=0.5), SMNIST)
    layers = [conv for block in network.blocks for conv in (block.conv1, block.conv2)]
    norms = sum(layer.sampled_kernel(784).norm() for layer in layers)
    torch.testing.assert_close(network.penalty(), 0.5 * norms)
    assert FlexTCN(FlexTCNConfig(), SMNIST).penalty() == 0


@pytest.mark.parametrize(
    "wrong", [{"mask_width": 0.0}, {"mask_threshold": 1.0}, {"kernel_layers": 0}]
)
def test_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FlexTCNConfig(**wrong)
