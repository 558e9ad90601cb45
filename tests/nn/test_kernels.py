"""Kernel networks are their formulas, on one axis and two, and start as the authors' code does."""

from __future__ import annotations

import pytest
import torch

from seqbench.nn.kernels import KernelNet, MAGNet, MFNFourier, MFNGabor, Siren

WEIGHTS = ("weight", "bias")
KINDS = (Siren, MFNFourier, MFNGabor, MAGNet)


def network(kind: type[KernelNet], dim: int, layers: int = 3) -> KernelNet:
    """A small network in float64, all parameters of which count."""
    torch.manual_seed(0)
    made = (
        kind(6, 5, omega_0=7.0, layers=layers, dim=dim)
        if kind is Siren
        else (kind(6, 5, layers=layers, input_scale=9.0, dim=dim))
    )
    return made.double()


def by_formula(net: KernelNet, x: torch.Tensor) -> torch.Tensor:
    """The network at one position, written plainly."""
    if isinstance(net, Siren):
        for layer in net.hidden:
            x = torch.sin(net.omega_0 * (layer.weight @ x + layer.bias))
        return net.output.weight @ x + net.output.bias
    filters = []
    for layer in net.filters:
        g = torch.sin(layer.linear.weight @ x + layer.linear.bias)
        if isinstance(net, MFNGabor):  # one width for all axes
            g = g * torch.exp(-0.5 * layer.gamma[:, 0] ** 2 * ((x - layer.mu) ** 2).sum(1))
        if isinstance(net, MAGNet):
            g = g * torch.exp(-0.5 * ((layer.gamma * (x - layer.mu)) ** 2).sum(1))
        filters.append(g)
    h = filters[0]
    for linear, g in zip(net.linear, filters[1:], strict=True):
        h = g * (linear.weight @ h + linear.bias)
    return net.output.weight @ h + net.output.bias


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_its_formula(kind: type[KernelNet], dim: int, layers: int) -> None:
    """At every position the value is the paper's formula; the features feed the last layer."""
    net = network(kind, dim, layers)
    positions = 2 * torch.rand(7, dim, dtype=torch.float64) - 1
    expected = torch.stack([by_formula(net, x) for x in positions])
    torch.testing.assert_close(net(positions), expected)
    torch.testing.assert_close(net.output(net.features(positions)), expected)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_passes_gradcheck(kind: type[KernelNet], dim: int) -> None:
    """Analytic gradients agree with finite differences in float64."""
    torch.manual_seed(0)
    net = (kind(3, 2, omega_0=7.0, dim=dim) if kind is Siren else kind(3, 2, 2, dim=dim)).double()
    positions = 2 * torch.rand(4, dim, dtype=torch.float64) - 1
    assert torch.autograd.gradcheck(lambda *_: net(positions), list(net.parameters()))


def test_siren_starts_as_the_authors_code_does() -> None:
    """Weights U(-1/sqrt(fan in), ...), norms and directions alike, biases U(-1, 1)."""
    torch.manual_seed(0)
    siren = Siren(256, 1024, omega_0=30.0, layers=4)
    assert len(siren.hidden) == 3
    for linear, fan_in in zip([*siren.hidden, siren.output], (1, 256, 256, 256), strict=True):
        bound = fan_in**-0.5
        assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert linear.bias.abs().max().item() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layers_parameters_come_last(kind: type[KernelNet]) -> None:
    """Their order decides bits, by the norm of all gradients, and what checkpoints mean."""
    names = [name.partition(".")[0] for name, _ in network(kind, 1).named_parameters()]
    assert names.index("output") == len(names) - names.count("output")


@pytest.mark.parametrize("dim", [1, 2])
def test_a_siren_without_weight_norm_starts_as_flexconvs_does(dim: int) -> None:
    """U(-1, 1) / dim first, then U(-1, 1) sqrt(6 / hidden) / omega_0; biases U / sqrt(fan in)."""
    torch.manual_seed(0)
    siren = Siren(512, 1024, omega_0=30.0, dim=dim, normed=False)
    bound = (6 / 512) ** 0.5 / 30
    layers = zip([*siren.hidden, siren.output], (1 / dim, bound, bound), strict=True)
    assert set(siren.state_dict()) == {
        f"{name}.{kind}" for name in ("hidden.0", "hidden.1", "output") for kind in WEIGHTS
    }
    for linear, limit in layers:
        assert linear.weight.abs().max().item() == pytest.approx(limit, rel=0.02)
        assert linear.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)
        assert linear.bias.abs().max().item() == pytest.approx(linear.in_features**-0.5, rel=0.02)


@pytest.mark.parametrize("dim", [1, 2])
def test_fourier_filters_start_as_the_authors_code_does(dim: int) -> None:
    """Frequencies U times input_scale / sqrt(layers + 1), phases U(-pi, pi)."""
    torch.manual_seed(0)
    net = MFNFourier(512, 2, layers=3, input_scale=256.0, dim=dim)
    assert len(net.filters) == 4
    for layer in net.filters:
        bound = 128.0 * dim**-0.5
        assert layer.linear.weight.abs().max().item() == pytest.approx(bound, rel=0.02)
        assert layer.linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert layer.linear.bias.abs().max().item() == pytest.approx(torch.pi, rel=0.03)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("kind", [MFNGabor, MAGNet])
def test_gabor_filters_start_as_the_authors_code_does(kind: type[KernelNet], dim: int) -> None:
    """Centres in the range; gamma Gamma(alpha, 1), an axis or a channel; sine weights with it.

    Alpha is 6 / (layers + 1) in every layer of an MFNGabor, 6 / (layer + 1) in a MAGNet's.
    """
    torch.manual_seed(0)
    net = kind(1024, 2, layers=3, input_scale=25.6, spatial_range=0.125, dim=dim)
    for index, gabor in enumerate(net.filters):
        alpha = 6 / 4 if kind is MFNGabor else 6 / (index + 1)
        assert gabor.gamma.shape == (1024, 1 if kind is MFNGabor else dim)
        assert gabor.gamma.min() > 0
        assert gabor.gamma.mean().item() == pytest.approx(alpha, rel=0.15)
        assert gabor.gamma.var().item() == pytest.approx(alpha, rel=0.25)
        assert gabor.mu.abs().max().item() == pytest.approx(0.125, rel=0.02)
        relative = gabor.linear.weight / gabor.gamma / 12.8
        assert relative.abs().max().item() == pytest.approx(dim**-0.5, rel=0.02)
        assert gabor.linear.bias.abs().max().item() == pytest.approx(torch.pi, rel=0.03)


@pytest.mark.parametrize("kind", [MFNFourier, MFNGabor, MAGNet])
def test_linear_layers_between_filters_start_from_pytorchs_default(kind: type[KernelNet]) -> None:
    """Weights and biases are U(-1/sqrt(hidden), 1/sqrt(hidden))."""
    torch.manual_seed(0)
    net = kind(400, 30, layers=2)
    for linear in [*net.linear, net.output]:
        assert linear.weight.abs().max().item() == pytest.approx(0.05, rel=0.02)
        assert linear.bias.abs().max().item() == pytest.approx(0.05, rel=0.1)
