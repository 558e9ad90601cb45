"""CCNN: the sizes and the start of the authors' code, its block, and its norms in the loss."""

from __future__ import annotations

import math

import pytest
import torch
from seqbench_flexconv import FlexConvNet, FlexConvNetConfig, GaussianMask
from seqbench_flexconv.layer import SeparableFlexConv
from torch import nn
from torch.nn import functional

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.convolution import direct_convolution
from seqbench.nn.kernels import MAGNet
from seqbench.spec import Signature

SMALL, LARGE = (FlexConvNet.presets[name] for name in ("ccnn-4-140", "ccnn-6-380"))

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")
SCIFAR = SMNIST.model_copy(update={"in_channels": 3, "shape": (1024,)})
MFCC = SMNIST.model_copy(update={"in_channels": 20, "shape": (161,)})
CIFAR = SMNIST.model_copy(update={"in_channels": 3, "shape": (32, 32)})


def by_hand(config: FlexConvNetConfig, signature: Signature) -> int:
    """The parameters of the authors' network, layer by layer."""
    dim, hidden, layers = len(signature.shape), config.kernel_channels, config.kernel_layers
    filters = (layers + 1) * hidden * (3 * dim + 1)  # centres, inverse widths, frequencies, phases
    linears = layers * (hidden + 1) * hidden

    def convolution(c_in: int, c_out: int) -> int:
        kernel = filters + linears + (hidden + 1) * c_in
        return kernel + c_in + dim + (c_in + 1) * c_out  # bias, mask's width, mixing

    c = config.channels
    norm, linear = 2 * c, (c + 1) * c
    stem = convolution(signature.in_channels, c) + norm
    return stem + config.blocks * (norm + convolution(c, c) + linear) + norm + (c + 1) * 10


@pytest.mark.parametrize(
    ("config", "signature", "parameters"),
    [
        (SMALL, SMNIST, 198_769),
        (SMALL, SCIFAR, 199_117),
        (SMALL, MFCC, 202_075),
        (SMALL, CIFAR, 201_042),
        (LARGE, SMNIST, 1_993_091),
        (LARGE, SCIFAR, 1_993_983),
        (LARGE, CIFAR, 1_999_366),
    ],
)
def test_it_has_the_official_size(
    config: FlexConvNetConfig, signature: Signature, parameters: int
) -> None:
    """200K and 2M in the paper: exactly what the authors' code makes, for sequences and images."""
    network = FlexConvNet(config, signature)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == by_hand(config, signature) == parameters


@pytest.mark.parametrize("signature", [SMNIST, CIFAR])
def test_it_starts_as_in_the_authors_code(signature: Signature) -> None:
    """Kernel networks by omega_0 and taps, linear maps by their inputs, biases at 0 or 1."""
    torch.manual_seed(0)
    network = FlexConvNet(SMALL, signature)
    dim, reach = len(signature.shape), 1.667 * 0.075
    layers = [m for m in network.modules() if isinstance(m, SeparableFlexConv)]
    assert len(layers) == 5
    for layer in layers:
        taps = layer.taps(*layer.size)
        assert taps == (64 if dim == 1 else 25)
        output = layer.kernel.output
        bound = math.sqrt(3 / 32 / taps)
        assert 0.9 * bound < output.weight.abs().max() <= bound * (1 + 1e-6)
        assert not output.bias.any()
        assert all((linear.bias == 1).all() for linear in layer.kernel.linear)
        for each in layer.kernel.filters:
            bound = 2 * math.pi * SMALL.omega_0 * each.gamma / math.sqrt(dim)
            assert (each.linear.weight.abs() <= bound * (1 + 1e-5)).all()
            assert (each.linear.weight.abs() / bound).max() > 0.9
            assert not each.linear.bias.any()
            first, last = (1 - reach, 1.0) if dim == 1 else (-reach, reach)
            assert (each.mu >= first - 1e-6).all()
            assert (each.mu <= last + 1e-6).all()
        assert not layer.inner_bias.any()
        assert not layer.mask.mean.requires_grad
    mixing = layers[1].mix.weight
    assert mixing.std().item() == pytest.approx(math.sqrt(2 / 140), rel=0.05)
    assert network.blocks[0].linear.weight.std().item() == pytest.approx(
        math.sqrt(2 / 140), rel=0.05
    )


@pytest.mark.parametrize("kernel", ["magnet-omega", "magnet"])
def test_a_layers_output_starts_as_large_as_its_input(kernel: str) -> None:
    """Dividing by the root of the taps keeps the scale at any mask width; else it grows."""
    torch.manual_seed(0)
    spread = []
    for width in (0.05, 1.0):
        config = FlexConvNetConfig(
            architecture="ccnn", channels=64, kernel=kernel, omega_0=500.0, separable=True,
            blocks=1, mask_width=width,
        )  # fmt: skip
        layer = FlexConvNet(config, SMNIST.model_copy(update={"shape": (400,)})).blocks[0].conv
        x = torch.randn(4, 64, 400)
        kernels = layer.sampled_kernel(400)
        spread.append(direct_convolution(x, kernels)[..., 200:].std().item())
    if kernel == "magnet-omega":
        assert max(spread) < 3 * min(spread)
    else:
        assert spread[1] > 3 * spread[0]


def test_a_separable_layer_has_a_bias_before_mixing_and_after() -> None:
    """The formula ``mix (kernel * x + inner bias) + bias``, on one axis and on two."""
    torch.manual_seed(0)
    for size, causal in (((21,), True), ((7, 9), False)):
        kernel = MAGNet(6, 3, 2, 8.0, dim=len(size))
        mask = GaussianMask(1.0 if causal else 0.0, 0.4, len(size))
        layer = SeparableFlexConv(kernel, (3, 5), size, mask, causal=causal).double()
        nn.init.normal_(layer.bias)
        nn.init.normal_(layer.inner_bias)
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        box = layer.box(size)
        offset = tuple(reach.current - reach.first for reach in box)
        ones = (1,) * len(size)
        y = direct_convolution(x, layer.sampled_kernel(*size), offset, size)
        y = y + layer.inner_bias.view(-1, *ones)
        y = torch.einsum("bi...,oi->bo...", y, layer.mix.weight) + layer.bias.view(-1, *ones)
        torch.testing.assert_close(layer(x), y)
        with torch.inference_mode():
            torch.testing.assert_close(layer.eval()(x), y.detach())


def small(signature: Signature, **config) -> FlexConvNet:
    """A small CCNN in float64 and eval."""
    torch.manual_seed(0)
    config = {
        "architecture": "ccnn",
        "channels": 6,
        "kernel": "magnet-omega",
        "kernel_channels": 4,
        "omega_0": 3.0,
        "separable": True,
        "mask_width": 0.3,
        "learn_mask_mean": False,
    } | config
    return FlexConvNet(FlexConvNetConfig(**config), signature).double().eval()


@pytest.mark.parametrize("shape", [(30,), (12, 15)])
def test_it_is_its_formula(shape: tuple[int, ...]) -> None:
    """A stem; x + gelu(linear(gelu(conv(norm x)))) a block; the mean of the norm, read."""
    network = small(SMNIST.model_copy(update={"shape": shape}))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_var.uniform_(0.5, 2.0)
    x = torch.randn(3, 1, *shape, dtype=torch.float64)
    convolution, norm, _ = network.stem
    y = functional.gelu(norm(convolution(x)))
    for block in network.blocks:
        inner = functional.gelu(block.conv(block.norm(y)))
        mixed = torch.einsum("bi...,oi->bo...", inner, block.linear.weight.flatten(1))
        y = y + functional.gelu(mixed + block.linear.bias.view(-1, *(1,) * len(shape)))
    expected = network.head.linear(network.norm(y).flatten(2).mean(2))
    torch.testing.assert_close(network(x), expected)


def test_in_training_dropout_takes_whole_channels() -> None:
    """Of the input single values, within a block all steps or pixels of a channel."""
    for shape in ((30,), (6, 5)):
        network = small(SMNIST.model_copy(update={"shape": shape}), dropout=0.5, dropout_in=0.5)
        x = torch.ones(40, 6, *shape, dtype=torch.float64)
        dropped = network.blocks[0].dropout.train()(x).flatten(2)
        assert (dropped == dropped[..., :1]).all()
        assert 0.3 < (dropped == 0).double().mean() < 0.7
        assert len(network.dropout_in.train()(x)[0, 0].unique()) == 2


def test_widths_add_a_linear_shortcut() -> None:
    """Where a block has more channels than the one before, its shortcut is a linear map."""
    network = small(SMNIST.model_copy(update={"shape": (30,)}), blocks=2, widths=(1.0, 2.0))
    assert isinstance(network.blocks[0].shortcut, nn.Identity)
    assert network.blocks[1].shortcut.weight.shape == (12, 6, 1)
    assert network(torch.randn(2, 1, 30, dtype=torch.float64)).shape == (2, 10)


def test_the_decay_is_of_all_norms() -> None:
    """Of masked kernels, and of every parameter that is not of a kernel network."""
    network = small(SMNIST.model_copy(update={"shape": (30,)}), kernel_decay=0.25)
    with torch.no_grad():
        for layer in (m for m in network.modules() if isinstance(m, KernelConvolution)):
            layer.bias.normal_()
    kernels = [
        m.sampled_kernel(30).norm() for m in network.modules() if isinstance(m, KernelConvolution)
    ]
    others = [
        p.norm() for n, p in network.named_parameters() if ".kernel." not in n and p.requires_grad
    ]
    assert len(others) == 4 + 2 + 2 * (2 + 4 + 2) + 2 + 2
    torch.testing.assert_close(network.penalty(), 0.25 * (sum(kernels) + sum(others)))


def test_its_answer_at_every_step_is_causal_and_read_without_the_mean() -> None:
    """For a target at every step the read-out is applied to each."""
    network = small(SMNIST.model_copy(update={"shape": (30,), "target": "step"}))
    x = torch.randn(1, 1, 30, dtype=torch.float64)
    later = x.clone()
    later[..., 20:] += 1.0
    assert network(x).shape == (1, 10, 30)
    torch.testing.assert_close(network(x)[..., :20], network(later)[..., :20])
