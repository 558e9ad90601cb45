"""N-Jet networks keep the interface's promises, FlexTCN's size and the laws of their layers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqbench_njet import NJet, NJetConfig, NJetConv
from torch import nn

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.testing import check_model

law = settings(deadline=None, max_examples=20, derandomize=True)

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")
MNIST = SMNIST.model_copy(update={"shape": (28, 28)})

FLEXTCN_2 = 105_548
"""Parameters of flexconv:flextcn-2 on sequential MNIST."""


@pytest.mark.parametrize("preset", list(NJet.presets))
def test_conforms(preset: str) -> None:
    """Every preset passes the conformance suite."""
    check_model("njet", preset)


def test_njettcn_2_has_the_parameters_of_flextcn_2() -> None:
    """To a quarter of a per cent: four matrices of coefficients, norms, shortcut and read-out."""
    network = NJet(NJetConfig(), SMNIST)
    count = sum(p.numel() for p in network.parameters())
    channels = 83
    layers = 5 * (channels + 3 * channels**2) + 4
    assert count == layers + 4 * 2 * channels + 2 * channels + 10 * (channels + 1)
    assert count == pytest.approx(FLEXTCN_2, rel=0.0025)


def test_njetnet_7_is_the_flexconv_authors() -> None:
    """38 channels by 1, 1.5 and 2, order 4: 15 coefficients a pair of channels, 0.70 million."""
    network = NJet(NJet.presets["njetnet-7"], MNIST.model_copy(update={"in_channels": 3}))
    widths = [38, 38, 38, 57, 57, 57, 76, 76]
    pairs = 3 * 38 + sum(i * o + o * o for i, o in itertools.pairwise(widths))
    norms = 2 * (38 + 2 * sum(widths[1:]))
    shortcuts = (38 + 1) * 57 + (57 + 1) * 76
    count = sum(p.numel() for p in network.parameters())
    assert count == 15 * pairs + 15 + norms + shortcuts + 10 * (76 + 1)
    assert round(count / 1e6, 2) == 0.70


def test_images_are_convolved_with_centred_kernels_of_one_scale() -> None:
    """Sigma starts at about one pixel, as in the paper; kernels are as large on either axis."""
    network = NJet(NJet.presets["njetnet-7"], MNIST)
    layers = [module for module in network.modules() if isinstance(module, NJetConv)]
    assert len(layers) == 15
    assert not any(layer.causal for layer in layers)
    learned = network.learned()
    assert learned["sigma"] == pytest.approx([0.075 * 14] * 15)
    assert learned["kernel_size_vertical"] == learned["kernel_size_horizontal"] == [7.0] * 15


@pytest.mark.parametrize(("preset", "signature"), [("njettcn-2", MNIST), ("njetnet-7", SMNIST)])
def test_each_architecture_refuses_what_is_the_others(preset: str, signature: Signature) -> None:
    """Sequences go through FlexTCN, images through FlexNet."""
    with pytest.raises(ConfigError, match="njet:njet"):
        NJet(NJet.presets[preset], signature)


@pytest.mark.parametrize(("length", "taps"), [(784, 61), (1024, 79), (16000, 1202), (64, 7)])
def test_kernels_start_about_as_long_as_flextcns(length: int, taps: int) -> None:
    """Sigma starts as the mask's width does; FlexTCN's kernels have 64, 83, 1288 and 5 taps."""
    network = NJet(NJetConfig(), SMNIST.model_copy(update={"shape": (length,)}))
    learned = network.learned()
    assert learned["kernel_size"] == [taps] * 4
    assert learned["sigma"] == pytest.approx([0.075 * (length - 1) / 2] * 4)


def test_learned_sizes_and_scales_are_told() -> None:
    """The taps that each convolution convolves with, and its sigma in steps, in order."""
    network = NJet(NJetConfig(channels=4), SMNIST)
    layers = [module for module in network.modules() if isinstance(module, NJetConv)]
    with torch.no_grad():
        layers[2].kernel.scale.fill_(3.0)
    learned = network.learned()
    assert learned["sigma"][2] == 8.0
    assert learned["kernel_size"] == [layer.taps(784) for layer in layers]
    assert learned["kernel_size"][2] == 18
    assert network.at_rate(2.0).learned()["sigma"][2] == 16.0


def test_kernel_decay_adds_the_norms_of_kernels() -> None:
    """The penalty is kernel_decay times the norms of what is convolved with."""
    torch.manual_seed(0)
    network = NJet(NJetConfig(channels=4, kernel_decay=0.5), SMNIST)
    layers = [module for module in network.modules() if isinstance(module, NJetConv)]
    norms = sum(layer.sampled_kernel(784).norm() for layer in layers)
    torch.testing.assert_close(network.penalty(), 0.5 * norms)
    assert NJet(NJetConfig(channels=4), SMNIST).penalty() == 0


def test_coefficients_decay_and_scales_do_not() -> None:
    """Coefficients of every order decay, and matrices; scales, norms and biases do not."""
    network = NJet(NJetConfig(channels=4), SMNIST)
    decaying, others = network.param_groups()
    names = {id(p): n for n, p in network.named_parameters()}
    decays = {names[id(p)] for p in decaying.parameters}
    assert {n for n in names.values() if ".kernel.output." in n} <= decays
    stays = {names[id(p)] for p in others.parameters}
    assert {n for n in names.values() if n.endswith((".scale", "norm1.weight"))} <= stays
    assert (decaying.decay, others.decay) == (True, False)
    assert decays | stays == set(names.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"order": 0},
        {"sigma": 0.0},
        {"extent": -1.0},
        {"dropout": 1.0},
        {"kernel_decay": -1.0},
        {"architecture": "flexnets"},
        {"widths": (1.0,)},
        {"widths": (1.0, 0.001)},
    ],
)
def test_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        NJetConfig(**wrong)


def network_of(length: int = 48, target: str = "sequence", **config) -> NJet:
    """A small network in float64 and eval whose every parameter and running statistic counts."""
    torch.manual_seed(0)
    signature = Signature(in_channels=2, shape=(length,), out_features=5, target=target)
    config = {"channels": 4, "dropout": 0.0} | config
    network = NJet(NJetConfig(**config), signature).double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_()
                module.bias.normal_()
        network.head.linear.weight.normal_()
    return network


@law
@given(
    st.sampled_from([1, 2, 3, 9, 47, 48, 49, 130]),
    st.sampled_from([0.005, 0.075, 0.3, 2.0]),
    st.integers(1, 3),
)
def test_a_sequence_is_answered_as_by_the_whole_network(
    length: int, sigma: float, blocks: int
) -> None:
    """In eval the last steps alone give the last output of all, at any length and scale."""
    network = network_of(sigma=sigma, blocks=blocks)
    x = torch.randn(2, 2, length, dtype=torch.float64)
    expected = network.head(network.blocks(x)).detach()
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(network(x), expected)


def test_every_parameter_learns() -> None:
    """A training step has a gradient for each, scales among them."""
    network = network_of(20).train()
    x = torch.randn(3, 2, 20, dtype=torch.float64)
    network(x).square().sum().backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


def test_scales_grow_where_that_helps() -> None:
    """A target that averages over twenty steps, more than the kernels reach, pulls them up."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(64,), out_features=1, target="step")
    network = NJet(NJetConfig(channels=8, blocks=1, sigma=0.03, dropout=0.0), signature)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    before = network.learned()
    for _ in range(60):
        x = torch.randn(16, 1, 64)
        target = 4 * nn.functional.avg_pool1d(x, 20, stride=1)
        loss = (network(x)[..., 19:] - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = network.learned()
    assert max(after["sigma"]) > 2 * max(before["sigma"])
    assert max(after["kernel_size"]) > max(before["kernel_size"])


def waves(count: int, rate: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves of 3 or 6 periods with some noise as slow, sampled 64 times ``rate``."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator)
    phase, other = torch.rand((2, count, 1), generator=generator) * 2 * math.pi
    time = torch.arange(64 * rate) / (64 * rate) * 2 * math.pi
    x = torch.sin((3 + 3 * y[:, None]) * time + phase) + 0.3 * torch.sin(2 * time + other)
    return x[:, None], y


def test_a_trained_network_keeps_its_accuracy_at_twice_the_rate() -> None:
    """On a band-limited task `at_rate` transfers what was learned; unchanged it is lost."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(64,), out_features=2, target="sequence")
    network = NJet(NJetConfig(channels=8, blocks=1, dropout=0.0, sigma=0.3), signature)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(80):
        x, y = waves(64, 1, seed=step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    network.eval()

    def accuracy(of: NJet, rate: int) -> float:
        x, y = waves(200, rate, seed=1_000)
        with torch.inference_mode():
            return (of(x).argmax(1) == y).float().mean().item()

    assert accuracy(network, 1) > 0.95
    assert accuracy(network.at_rate(2.0), 2) > 0.95
    assert accuracy(network, 2) < 0.75
