"""FlexTCN keeps the interface's promises, the official sizes and the masks' learning rate."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqbench_flexconv import FlexConv, FlexConvNet, FlexConvNetConfig
from torch import nn

from seqbench import run
from seqbench.errors import ConfigError
from seqbench.inspection import inspect, write_inspection
from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import GaborFilter, MAGNet, MFNFourier, MFNGabor, Siren
from seqbench.runner import Place
from seqbench.spec import Signature
from seqbench.testing import check_model

KERNELS = {
    "magnet": MAGNet,
    "mfn-gabor": MFNGabor,
    "mfn-fourier": MFNFourier,
    "siren": Siren,
    "siren-unnormed": Siren,
}

law = settings(deadline=None, max_examples=20, derandomize=True)

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")


@pytest.mark.parametrize("preset", list(FlexConvNet.presets))
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
    network = FlexConvNet(FlexConvNet.presets[f"flextcn-{blocks}"], signature)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(("length", "taps"), [(784, 64), (1024, 83), (16000, 1288)])
def test_kernels_start_at_the_official_lengths(length: int, taps: int) -> None:
    """The initial kernel length at the lengths of sMNIST, sCIFAR-10 and Speech Commands."""
    network = FlexConvNet(FlexConvNetConfig(), SMNIST.model_copy(update={"shape": (length,)}))
    assert {conv.taps(length) for b in network.blocks for conv in (b.conv1, b.conv2)} == {taps}


def test_masks_learn_at_a_tenth_of_the_rate_and_do_not_decay() -> None:
    """One group holds mean and width of all four masks; the others go at the full rate."""
    network = FlexConvNet(FlexConvNetConfig(), SMNIST)
    *others, masks = network.param_groups()
    assert (masks.learning_rate_scale, masks.decay, len(masks.parameters)) == (0.1, False, 8)
    named = dict(network.named_parameters())
    assert {id(p) for p in masks.parameters} == {id(p) for n, p in named.items() if ".mask." in n}
    assert all(group.learning_rate_scale == 1.0 for group in others)


def test_masks_widen_where_that_helps() -> None:
    """A target ten steps back, outside of the initial kernel, pulls the width up."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(64,), out_features=1, target="step")
    network = FlexConvNet(FlexConvNetConfig(channels=8, dropout=0.0), signature)
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
    network = FlexConvNet(FlexConvNetConfig(channels=4, kernel_decay=0.5), SMNIST)
    layers = [conv for block in network.blocks for conv in (block.conv1, block.conv2)]
    norms = sum(layer.sampled_kernel(784).norm() for layer in layers)
    torch.testing.assert_close(network.penalty(), 0.5 * norms)
    assert FlexConvNet(FlexConvNetConfig(), SMNIST).penalty() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask_width": 0.0},
        {"mask_threshold": 1.0},
        {"kernel_layers": 0},
        {"kernel_layers": 1, "kernel": "siren"},
        {"kernel_layers": 1, "kernel": "siren-unnormed"},
        {"alias_cut": -1.0},
        {"omega_0": 0.0},
    ],
)
def test_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FlexConvNetConfig(**wrong)


def test_an_unknown_kernel_or_method_is_refused() -> None:
    """A name outside of the known ones never falls through; the known ones are listed."""
    with pytest.raises(ConfigError, match=r"kernel is 'gaborr'.* mfn-gabor"):
        FlexConvNetConfig(kernel="gaborr")
    with pytest.raises(ConfigError, match=r"alias_method is 'sum'.* summed"):
        FlexConvNetConfig(alias_method="sum")


def network_of(
    length: int = 48, target: str = "sequence", training: bool = False, **config
) -> FlexConvNet:
    """A small network in float64 whose every parameter and running statistic counts."""
    torch.manual_seed(0)
    signature = Signature(in_channels=2, shape=(length,), out_features=5, target=target)
    config = {"channels": 4, "kernel_channels": 6, "dropout": 0.0} | config
    network = FlexConvNet(FlexConvNetConfig(**config), signature).double().train(training)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_()
                module.bias.normal_()
            if isinstance(module, KernelConvolution):
                module.bias.normal_()
        network.head.linear.weight.normal_()
    return network


def whole(network: FlexConvNet, x: torch.Tensor) -> torch.Tensor:
    """The answer of all blocks run over all steps."""
    for block in network.blocks:
        x = block(x)
    return network.head(x)


@law
@given(
    st.sampled_from([1, 2, 3, 9, 30, 47, 48, 49, 130]),
    st.sampled_from([0.02, 0.075, 0.3, 1.0]),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_a_sequence_is_answered_as_by_the_whole_network(
    length: int, width: float, blocks: int, separable: bool, mask: bool
) -> None:
    """In eval the last steps alone give the last output of all, at any length and mask width."""
    network = network_of(mask_width=width, blocks=blocks, separable=separable, mask=mask)
    x = torch.randn(2, 2, length, dtype=torch.float64)
    expected = whole(network, x).detach()
    torch.testing.assert_close(network(x), expected)
    with torch.inference_mode():
        for _ in range(2):
            torch.testing.assert_close(network(x), expected)


def test_masks_of_different_widths_are_followed_from_block_to_block() -> None:
    """Also where every convolution's kernel is of another length."""
    network = network_of(200, blocks=3)
    layers = [m for m in network.modules() if isinstance(m, FlexConv)]
    with torch.no_grad():
        for layer, width in zip(layers, (0.2, 0.01, 0.05, 0.4, 0.002, 0.1), strict=True):
            layer.mask.width.fill_(width)
    for length in (200, 100, 60, 5, 300):
        x = torch.randn(2, 2, length, dtype=torch.float64)
        with torch.inference_mode():
            torch.testing.assert_close(network(x), whole(network, x))


@pytest.mark.parametrize("target", ["sequence", "step"])
def test_steps_out_of_reach_change_no_answer(target: str) -> None:
    """An answer depends on the steps that its kernels reach alone, and on those it does."""
    network = network_of(400, target)
    reach = sum(c.taps(400) - 1 for b in network.blocks for c in (b.conv1, b.conv2))
    assert reach < 200
    x = torch.randn(1, 2, 400, dtype=torch.float64)
    near, far = x.clone(), x.clone()
    far[..., : 400 - reach - 1] += 1.0
    near[..., 400 - reach :] += 1.0
    last = (..., slice(None)) if target == "sequence" else (..., slice(-1, None))
    torch.testing.assert_close(network(far)[last], network(x)[last])
    assert not torch.allclose(network(near)[last], network(x)[last])


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("kernel", list(KERNELS))
def test_every_kernel_trains_and_answers(kernel: str, separable: bool, mask: bool) -> None:
    """The kernel network is the named one, of the values it takes; every parameter learns."""
    network = network_of(20, training=True, kernel=kernel, separable=separable, mask=mask)
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    assert len(layers) == 4
    for layer in layers:
        assert type(layer.kernel) is KERNELS[kernel]
        assert isinstance(layer, FlexConv) == mask
        pairs = layer.in_channels * (1 if separable else layer.out_channels)
        assert layer.kernel.output.out_features == pairs
    x = torch.randn(3, 2, 20, dtype=torch.float64)
    (network(x).square().sum() + network.penalty()).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert not missing


def test_a_separable_network_is_smaller() -> None:
    """A kernel a channel and a matrix in place of a kernel a pair."""
    dense, separable = (network_of(channels=30, separable=s) for s in (False, True))
    sizes = [sum(p.numel() for p in n.parameters()) for n in (dense, separable)]
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize(
    ("preset", "kernel", "masks"),
    [("flextcn-2", MAGNet, 4), ("flextcn-2-siren", Siren, 4), ("flextcn-2-unmasked", MAGNet, 0)],
)
def test_ablations_change_one_thing(preset: str, kernel: type, masks: int) -> None:
    """Each ablation's kernel network and number of masks; all else is that of flextcn-2."""
    network = FlexConvNet(FlexConvNet.presets[preset], SMNIST)
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    assert {type(layer.kernel) for layer in layers} == {kernel}
    assert sum(isinstance(layer, FlexConv) for layer in layers) == masks
    assert len(network.learned().get("kernel_size", ())) == masks
    if not masks:
        assert {layer.taps(784) for layer in layers} == {784}
    if kernel is MAGNet:
        assert sum(p.numel() for p in network.parameters()) == 105_548 - (0 if masks else 8)


def test_mask_means_may_be_held() -> None:
    """With ``learn_mask_mean`` false a mean has no gradient and is in no group."""
    network = network_of(20, training=True, learn_mask_mean=False)
    network(torch.randn(3, 2, 20, dtype=torch.float64)).sum().backward()
    means = [p for n, p in network.named_parameters() if n.endswith("mask.mean")]
    assert len(means) == 4
    assert not any(p.requires_grad or p.grad is not None for p in means)
    grouped = {id(p) for group in network.param_groups() for p in group.parameters}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_neither_windows_nor_masks_decay(kernel: str) -> None:
    """Centres and widths of Gabor filters and masks, biases too, are in groups without decay."""
    network = network_of(kernel=kernel)
    kept = [p for group in network.param_groups() if not group.decay for p in group.parameters]
    held = {id(p) for p in kept}
    for module in network.modules():
        if isinstance(module, GaborFilter):
            assert {id(module.mu), id(module.gamma)} <= held
        if isinstance(module, FlexConv):
            assert {id(module.mask.mean), id(module.mask.width), id(module.bias)} <= held
    grouped = [id(p) for group in network.param_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_learned_kernel_sizes_and_masks_are_told() -> None:
    """The taps that each convolution convolves with, and its mask's width and mean, in order."""
    network = network_of(mask_width=0.1)
    with torch.no_grad():
        network.blocks[1].conv2.mask.width.fill_(-0.3)
    learned = network.learned()
    assert learned["mask_width"] == pytest.approx([0.1, 0.1, 0.1, 0.3])
    assert learned["mask_mean"] == [1.0] * 4
    layers = [m for m in network.modules() if isinstance(m, FlexConv)]
    assert learned["kernel_size"] == [layer.taps(layer.size[0]) for layer in layers]
    assert learned["kernel_size"][0] < learned["kernel_size"][3]


@pytest.mark.parametrize("training", [True, False])
def test_a_used_network_can_be_copied_and_pickled(training: bool) -> None:
    """After a forward pass, with whatever it keeps, a copy computes the same."""
    network = network_of(30, training=training)
    x = torch.randn(3, 2, 30, dtype=torch.float64)
    network(x)
    with torch.inference_mode():
        network(x)
    twins = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
    y = network(x)
    for twin in twins:
        torch.testing.assert_close(twin(x), y)


def test_a_network_at_another_rate_answers_a_finer_signal_alike() -> None:
    """A slow signal, sampled twice as finely, gives nearly the same answer; parameters are shared.

    Not the same: the current step is at the edge of the kernel, where its sum is no smooth one.
    """
    network = network_of(257, blocks=1, mask_width=0.3, input_scale=2.0)
    twin = network.at_rate(2.0)
    assert all(a is b for a, b in zip(twin.parameters(), network.parameters(), strict=True))
    times = torch.arange(513, dtype=torch.float64) / 2
    signal = torch.stack([torch.sin(times / 30), torch.cos(times / 40)])[None]
    coarse, fine = network(signal[..., ::2]), twin(signal)
    naive = network(signal)
    scale = coarse.abs().max()
    assert (fine - coarse).abs().max() < 0.05 * scale
    assert (fine - coarse).abs().max() < 0.2 * (naive - coarse).abs().max()


def waves(count: int, rate: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves of 3 or 6 periods with some noise as slow, sampled 64 times ``rate``."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator)
    phase, other = torch.rand((2, count, 1), generator=generator) * 2 * torch.pi
    time = torch.arange(64 * rate) / (64 * rate) * 2 * torch.pi
    x = torch.sin((3 + 3 * y[:, None]) * time + phase) + 0.3 * torch.sin(2 * time + other)
    return x[:, None], y


def test_a_trained_network_keeps_its_accuracy_at_twice_the_rate() -> None:
    """On a band-limited task `at_rate` transfers what was learned; unchanged it is lost."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(64,), out_features=2, target="sequence")
    network = FlexConvNet(
        FlexConvNetConfig(channels=8, blocks=1, dropout=0.0, mask_width=0.3), signature
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(80):
        x, y = waves(64, 1, seed=step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    network.eval()

    def accuracy(of: FlexConvNet, rate: int) -> float:
        x, y = waves(200, rate, seed=1_000)
        with torch.inference_mode():
            return (of(x).argmax(1) == y).float().mean().item()

    assert accuracy(network, 1) > 0.95
    assert accuracy(network.at_rate(2.0), 2) > 0.95
    assert accuracy(network, 2) < 0.75


def test_an_inspection_draws_kernels_masks_and_their_spectra(tmp_path: Path) -> None:
    """Of every layer, with what was learned epoch by epoch; each figure as a file, too."""
    chosen = {"model.mask_width": 0.3, "model.channels": 4}
    result = run("sdigits", "flexconv", epochs=2, settings=chosen, output_dir=tmp_path)
    found = inspect(result, Place(tmp_path), examples=10)
    assert [layer.name for layer in found.layers] == [
        f"blocks.{block}.conv{number}" for block in (0, 1) for number in (1, 2)
    ]
    assert found.start is not None
    assert found.start["mask_width"] == pytest.approx([0.3] * 4)
    assert result.learned is not None
    learned = zip(
        *(result.learned[name] for name in ("kernel_size", "mask_width", "mask_mean")), strict=True
    )
    for layer, (size, width, mean) in zip(found.layers, learned, strict=True):
        assert layer.taps == size
        mask = np.exp(-(((1 - layer.lags[0] * 2 / 63 - mean) / width) ** 2) / 2)
        assert layer.mask is not None
        np.testing.assert_allclose(layer.mask[0], mask, rtol=1e-4)
    page = write_inspection(found, tmp_path / "page").read_text(encoding="utf-8")
    names = {path.name for path in (tmp_path / "page").iterdir()}
    figures = ("learned", "kernels", "spectra", "field")
    drawn = {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
    assert names == {"index.html"} | drawn
    assert page.count("<svg") == len(figures)
