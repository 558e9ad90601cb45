"""FlexNet on images: the official sizes, and the laws of convolutions in two dimensions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqbench_flexconv import FlexConv, FlexConvNet, FlexConvNetConfig
from torch import nn
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.flops import count_flops
from seqbench.nn import continuous
from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.convolution import Blocks, Window
from seqbench.nn.residual import ResNetBlock
from seqbench.resolve import resolve
from seqbench.runner import Place, prepare
from seqbench.spec import Request, Signature

law = settings(deadline=None, max_examples=15, derandomize=True)

FLEXNET = FlexConvNet.presets["flexnet-7"]
SMALL = {"channels": 4, "blocks": 2, "widths": (1.0, 1.5), "kernel_channels": 6, "dropout": 0.0}


def images(side: int | tuple[int, int], channels: int = 3) -> Signature:
    """A task of images of these sides, square where one is given."""
    shape = (side, side) if isinstance(side, int) else side
    return Signature(in_channels=channels, shape=shape, out_features=10, target="sequence")


def small(side: int | tuple[int, int], architecture: str = "flexnet", **config) -> FlexConvNet:
    """A small network in eval and float64 whose every parameter and running statistic counts."""
    torch.manual_seed(0)
    config = SMALL | {"architecture": architecture} | config
    network = FlexConvNet(FlexConvNetConfig(**config), images(side, channels=2)).double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.bias.normal_(std=0.3)
    return network


def layers_of(network: FlexConvNet) -> list[FlexConv]:
    """All FlexConvs, in order."""
    return [module for module in network.modules() if isinstance(module, FlexConv)]


@pytest.mark.parametrize(("side", "channels", "parameters"), [(32, 3, 671_650), (28, 1, 670_066)])
def test_it_has_the_official_size(side: int, channels: int, parameters: int) -> None:
    """As many parameters as the official code, on CIFAR-10 and on MNIST: 0.67M in the paper."""
    network = FlexConvNet(FLEXNET, images(side, channels))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(layers_of(network)) == 15


def test_it_is_the_architecture_of_the_official_code() -> None:
    """A first convolution and seven blocks of 24, 36 and 48 channels, then the mean is read."""
    network = FlexConvNet(FLEXNET, images(32))
    assert [layer.out_channels for layer in layers_of(network)] == [
        *[24] * 5,
        *[36] * 6,
        *[48] * 4,
    ]
    blocks = list(network.blocks)
    assert all(isinstance(block, ResNetBlock) for block in blocks)
    assert [i for i, b in enumerate(blocks) if isinstance(b.shortcut, nn.Conv2d)] == [2, 5]
    assert [block.norm1.activation.rate for block in blocks] == [0.2] * 7
    assert network.head.linear.weight.std().item() == pytest.approx((2 / 48) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("side", "size", "taps"), [(32, 33, 5), (28, 29, 5), (16, 17, 3), (14, 15, 3)]
)
def test_kernels_start_at_the_official_sizes(side: int, size: int, taps: int) -> None:
    """As large as the image and odd, cropped where a mask of width 0.075 is below 0.1."""
    network = FlexConvNet(FLEXNET, images(side))
    assert {layer.size for layer in layers_of(network)} == {(size, size)}
    learned = network.learned()
    assert set(learned["kernel_size_vertical"] + learned["kernel_size_horizontal"]) == {taps}
    assert learned["mask_width_vertical"] == pytest.approx([0.075] * 15)
    assert learned["mask_mean_horizontal"] == [0.0] * 15


def textbook(network: FlexConvNet, x: torch.Tensor) -> torch.Tensor:
    """The network's answer in eval by PyTorch's own layers, kernels formed and mirrored."""

    def convolved(layer: FlexConv, x: torch.Tensor) -> torch.Tensor:
        kernel = layer.sampled_kernel(*layer.size).flip(2, 3)
        reach = [r.current - r.first for r in layer.box(layer.size)]
        ends = [r.end - 1 - r.current for r in layer.box(layer.size)]
        sides = (ends[1], reach[1], ends[0], reach[0])
        return functional.conv2d(functional.pad(x, sides), kernel, layer.bias)

    def normed(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    convolution, norm = network.stem
    x = normed(norm, convolved(convolution, x)).relu()
    for block in network.blocks:
        y = normed(block.norm1, convolved(block.conv1, x)).relu()
        y = normed(block.norm2, convolved(block.conv2, y))
        x = (y + block.shortcut(x)).relu()
    return x.mean((2, 3)) @ network.head.linear.weight.T + network.head.linear.bias


@pytest.mark.parametrize("side", [(14, 14), (15, 12), (13, 17)])
def test_it_is_the_network_written_out(side: tuple[int, int]) -> None:
    """Square or not, of even or odd sides: the answer is that of plain PyTorch."""
    network = small(side, mask_width=0.3)
    with torch.no_grad():
        for i, layer in enumerate(layers_of(network)):  # no two axes or layers alike
            layer.mask.width.copy_(torch.tensor([0.2 + 0.05 * i, 0.5 - 0.07 * i]))
            layer.mask.mean.copy_(torch.tensor([0.1, -0.2]))
    x = torch.randn(2, 2, *side, dtype=torch.float64)
    expected = textbook(network, x).detach()
    torch.testing.assert_close(network(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("architecture", ["flexnet", "ccnn"])
@pytest.mark.parametrize("side", [(14, 14), (15, 15), (15, 12)])
def test_by_transforms_it_is_as_directly(
    side: tuple[int, int], architecture: str, extra: int, monkeypatch
) -> None:
    """FFT and direct convolution agree, of even and odd sides, by transforms of even and odd n."""
    network = small(side, architecture, separable=architecture == "ccnn", mask_width=0.3)
    x = torch.randn(2, 2, *side, dtype=torch.float64)

    def answers(plan: object) -> list[torch.Tensor]:
        monkeypatch.setattr(continuous, "plan", plan)
        network.zero_grad()
        y = network(x)
        y.square().sum().backward()
        return [y.detach(), *(p.grad.clone() for p in network.parameters())]

    def by_transforms(window: Window, *_: object) -> Blocks:
        pairs = zip(window.taps, window.size, strict=True)
        n = tuple(2 * ((k + m) // 2) + extra for k, m in pairs)
        return Blocks(window.taps, window.offset, window.size, n)

    directly = answers(lambda window, *_: window)
    torch.testing.assert_close(answers(by_transforms), directly)


@law
@given(st.integers(-4, 4), st.integers(-4, 4), st.sampled_from(["flexnet", "ccnn"]))
def test_a_shifted_image_gives_shifted_features(down: int, right: int, architecture: str) -> None:
    """Away from the borders the features before the read-out move with the image."""
    network = small(49, architecture, mask_width=0.04)
    reach = sum(layer.taps(49, 49) ** 0.5 // 2 for layer in layers_of(network))
    assert 5 <= reach <= 10
    x = torch.randn(1, 2, 49, 49, dtype=torch.float64)

    def features(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network.blocks(network.stem(x))

    moved = features(x.roll((down, right), (2, 3))).roll((-down, -right), (2, 3))
    inner = slice(int(reach) + 5, -int(reach) - 5)
    torch.testing.assert_close(moved[..., inner, inner], features(x)[..., inner, inner])


def smooth(side: int, step: float, seed: int = 0) -> torch.Tensor:
    """An image of slow waves that fades towards its borders, sampled every ``step``."""
    generator = torch.Generator().manual_seed(seed)
    place = (torch.arange(side, dtype=torch.float64) * step - 16) / 16
    image = torch.zeros(1, 2, side, side, dtype=torch.float64)
    for vertical in range(3):
        for horizontal in range(3):
            weight = torch.randn(1, 2, 1, 1, generator=generator, dtype=torch.float64)
            wave = torch.outer(torch.cos(vertical * 2 * place), torch.cos(horizontal * 2 * place))
            image += weight * wave
    window = torch.exp(-0.5 * (place / 0.35) ** 2)
    return image * torch.outer(window, window)


@pytest.mark.parametrize("architecture", ["flexnet", "ccnn"])
def test_at_twice_the_resolution_it_answers_alike(architecture: str) -> None:
    """A band-limited image, sampled twice as finely, gives nearly the same answer.

    The network unchanged does not.
    """
    network = small(33, architecture, mask_width=0.3, input_scale=2.0, mask_threshold=0.01)
    with torch.no_grad():
        for module in network.modules():  # norms that add nothing: outside of the image stays 0
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.zero_()
                module.bias.zero_()
    twin = network.at_rate(2.0)
    assert all(a is b for a, b in zip(twin.parameters(), network.parameters(), strict=True))
    assert {layer.rate for layer in layers_of(twin)} == {2.0}
    coarse, fine = network(smooth(33, 1.0)), twin(smooth(65, 0.5))
    naive = network(smooth(65, 0.5))
    scale = (coarse - network(torch.zeros(1, 2, 33, 33, dtype=torch.float64))).abs().max()
    assert (fine - coarse).abs().max() < 0.05 * scale
    assert (fine - coarse).abs().max() < 0.2 * (naive - coarse).abs().max()


def gratings(count: int, rate: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gratings of 2 or 4 periods in any direction and phase, on 16 ``rate`` pixels a side."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator)
    angle, phase = torch.rand((2, count, 1, 1), generator=generator) * 2 * math.pi
    place = torch.arange(16 * rate) / (16 * rate) * 2 * math.pi
    along = torch.cos(angle) * place[:, None] + torch.sin(angle) * place[None]
    return torch.sin((2 + 2 * y[:, None, None]) * along + phase)[:, None], y


def test_a_trained_network_keeps_its_accuracy_at_twice_the_resolution() -> None:
    """What was learned at 16 pixels a side holds at 32 by ``at_rate``, and is lost without."""
    torch.manual_seed(0)
    config = FlexConvNetConfig(
        architecture="flexnet", channels=8, blocks=1, dropout=0.0, mask_width=0.3
    )
    network = FlexConvNet(config, images(16, channels=1).model_copy(update={"out_features": 2}))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(60):
        x, y = gratings(32, 1, seed=step)
        optimiser.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    network.eval()

    def accuracy(of: FlexConvNet, rate: int) -> float:
        x, y = gratings(200, rate, seed=1_000)
        with torch.inference_mode():
            return (of(x).argmax(1) == y).float().mean().item()

    assert accuracy(network, 1) > 0.95
    assert accuracy(network.at_rate(2.0), 2) > 0.95
    assert accuracy(network, 2) < 0.75


def test_a_run_takes_its_parents_weights_to_another_resolution(
    data_dir: Path, tmp_path: Path
) -> None:
    """Trained on 14 x 14, used on 28 x 28: the parent's network at twice the rate."""
    parent = Request("mnist2d", "flexconv:flexnet-7", {"resolution": 14}, {"train.max_steps": 1})
    child = Request("mnist2d", "flexconv:flexnet-7", parent=parent, trained=False)
    bench = prepare(resolve(child), Place(tmp_path, data_dir=data_dir))
    assert bench.rate_change is not None
    assert (bench.rate_change.ratio, bench.rate_change.adapted) == (2.0, True)
    assert {layer.size for layer in layers_of(bench.network)} == {(15, 15)}
    assert {layer.rate for layer in layers_of(bench.network)} == {2.0}
    assert set(bench.network.learned()["kernel_size_vertical"]) == {5.0}  # of 29, as at 28 x 28


def test_flops_are_those_of_its_convolutions(monkeypatch) -> None:
    """Directly: 2 * pixels * taps * channels in * channels out a convolution, and the kernels."""
    monkeypatch.setattr(continuous, "plan", lambda window, *_: window)
    side, taps, hidden, depth = 16, 9, 6, 3
    network = small(side).float()
    expected = 2 * side**2 * 4 * 6 + 2 * 6 * 10  # the 1 x 1 shortcut, and the read-out
    for layer in layers_of(network):
        assert layer.taps(side, side) == taps
        pairs = layer.in_channels * layer.out_channels
        expected += 2 * side**2 * taps * pairs
        expected += 2 * taps * ((depth + 1) * 2 * hidden + depth * hidden**2 + (hidden + 1) * pairs)
    assert count_flops(network, torch.zeros(1, 2, side, side)) == expected


@pytest.mark.parametrize("architecture", ["flexnet", "ccnn"])
def test_without_masks_kernels_are_as_large_as_the_image(architecture: str) -> None:
    """The ablation has no mask to learn, and answers."""
    network = small(14, architecture, mask=False)
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    assert not layers_of(network)
    assert {layer.taps(14, 14) for layer in layers} == {15 * 15}
    assert network.learned() == {}
    assert network(torch.randn(1, 2, 14, 14, dtype=torch.float64)).isfinite().all()


def test_what_it_cannot_be_is_refused() -> None:
    """FlexNet reads images and FlexTCN sequences; widths fit the blocks."""
    sequence = Signature(in_channels=1, shape=(64,), out_features=10, target="sequence")
    with pytest.raises(ConfigError, match="flexnet' reads images"):
        FlexConvNet(FLEXNET, sequence)
    with pytest.raises(ConfigError, match="reads sequences"):
        FlexConvNet(FlexConvNetConfig(), images(14))
    for widths in ((), (1.0,), (1.0, 0.01)):
        with pytest.raises(ConfigError, match="widths is"):
            FlexConvNetConfig(widths=widths)
    with pytest.raises(ConfigError, match="architecture is 'resnet'"):
        FlexConvNetConfig(architecture="resnet")
