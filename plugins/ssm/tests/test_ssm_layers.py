"""State space layers against dense linear systems, and the recurrence against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg, signal
from seqbench_ssm import LRUConfig, LRULayer, S4DConfig, S4DLayer, power_sums, scan
from seqbench_ssm.s4d import INITIAL, s4d_inv, s4d_legs, s4d_lin
from torch.utils._python_dispatch import TorchDispatchMode

LENGTHS = [1, 2, 3, 17, 64, 100, 1001]


def complexes(*shape, seed=0):
    """Complex numbers in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def exponents(*shape, seed=0):
    """Logarithms of stable factors: real part in (-0.2, 0), imaginary in (-pi, pi)."""
    generator = torch.Generator().manual_seed(seed)
    real, imaginary = torch.rand(2, *shape, dtype=torch.float64, generator=generator)
    return torch.complex(-0.2 * real, math.pi * (2 * imaginary - 1))


def s4d(seed=0, **config):
    """A small S4D layer in double precision."""
    torch.manual_seed(seed)
    return S4DLayer(S4DConfig(**({"channels": 3, "state_size": 8} | config))).double()


def lru(seed=0, **config):
    """A small LRU layer in double precision."""
    torch.manual_seed(seed)
    return LRULayer(LRUConfig(**({"channels": 3, "state_size": 5} | config))).double()


def dense(layer, channel):
    """One channel's continuous system with both states of each pair: A, B and C."""
    a = (-layer.log_decay.exp() + 1j * layer.frequency)[channel].detach().numpy()
    b = torch.view_as_complex(layer.b)[channel].detach().numpy()
    c = torch.view_as_complex(layer.c)[channel].detach().numpy()
    both = [np.concatenate([v, v.conj()]) for v in (a, b, c)]
    return np.diag(both[0]), both[1][:, None], both[2][None, :]


def stepped(layer, x):
    """A layer's outputs, one step after the other."""
    state, outputs = layer.initial_state(len(x)), []
    for t in range(x.shape[1]):
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, dim=1)


# Sums of powers


@pytest.mark.parametrize("length", LENGTHS)
def test_power_sums_are_their_definition(length):
    """The real part of a sum of weighted powers, at every step."""
    weight, exponent = complexes(4, 6), exponents(4, 6)
    time = torch.arange(length, dtype=torch.float64)
    expected = (weight[..., None] * (exponent[..., None] * time).exp()).sum(1).real
    torch.testing.assert_close(power_sums(weight, exponent, length), expected)


def test_power_sums_keep_phases_over_16384_steps():
    """In single precision, powers of factors that hardly decay are right to the last step."""
    weight, exponent = complexes(2, 16), exponents(2, 16)
    exponent = torch.complex(exponent.real * 1e-4, exponent.imag)
    expected = power_sums(weight, exponent, 16_384)
    got = power_sums(weight.to(torch.complex64), exponent, 16_384)
    assert got.dtype == torch.float32
    assert (got - expected).abs().max() < 1e-6 * expected.abs().max()


def test_power_sums_form_no_matrix_of_channels_states_and_steps():
    """The largest array on the way is about the answer's size, not that times the states."""

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            self.numel = max(self.numel, out.numel())
            return out

    weight, exponent = complexes(8, 32).to(torch.complex64), exponents(8, 32)
    with Largest() as largest:
        power_sums(weight, exponent, 16_384)
    assert largest.numel <= 8 * 16_384


def test_power_sums_gradient():
    """Gradients reach weights and exponents."""
    weight, exponent = complexes(2, 3).requires_grad_(), exponents(2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, z: power_sums(w, z, 11), (weight, exponent))


# The scan


@pytest.mark.parametrize("length", LENGTHS)
def test_scan_is_the_recurrence(length):
    """Each state is the one before times the factor, plus the input."""
    x, exponent = complexes(2, length, 3), exponents(3)
    h, state = scan(x, exponent), torch.zeros(2, 3, dtype=torch.complex128)
    for t in range(length):
        state = exponent.exp() * state + x[:, t]
        torch.testing.assert_close(h[:, t], state)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_scan_gradient(length):
    """First and second derivatives, in inputs and exponents."""
    x, exponent = complexes(2, length, 3).requires_grad_(), exponents(3).requires_grad_()
    assert torch.autograd.gradcheck(scan, (x, exponent))
    assert torch.autograd.gradgradcheck(scan, (x, exponent))


def test_scan_is_a_sound_operator():
    """It keeps what ``torch.library`` asks of an operator, under ``torch.compile`` too."""
    torch.library.opcheck(scan, (complexes(2, 7, 3).requires_grad_(), exponents(3)))


def test_scan_in_single_precision_over_16384_steps():
    """Rounding does not build up, even with factors that hardly decay."""
    x, exponent = complexes(1, 16_384, 4), exponents(4)
    exponent = torch.complex(exponent.real * 1e-3, exponent.imag)
    expected = scan(x, exponent)
    got = scan(x.to(torch.complex64), exponent)
    assert got.dtype == torch.complex64
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


# Initialisation of S4D


def test_s4d_lin_and_inv_are_the_published_formulas():
    """As the paper states them, for N = 4."""
    np.testing.assert_allclose(s4d_lin(4)[0], [-0.5, -0.5 + 1j * math.pi])
    expected = [-0.5 + 4j / math.pi * (4 / 1 - 1), -0.5 + 4j / math.pi * (4 / 3 - 1)]
    np.testing.assert_allclose(s4d_inv(4)[0], expected)


def hippo_legs(size):
    """The HiPPO-LegS matrix and vector (Gu et al. 2020), entry by entry."""
    a, b = np.zeros((size, size)), np.sqrt(2 * np.arange(size) + 1.0)
    for n in range(size):
        for k in range(n):
            a[n, k] = -math.sqrt((2 * n + 1) * (2 * k + 1))
        a[n, n] = -(n + 1)
    return a, b


@pytest.mark.parametrize("size", [2, 8, 64])
def test_s4d_legs_diagonalises_the_normal_part(size):
    """HiPPO-LegS plus P P^T, P_n = sqrt(n + 1/2), is normal; it and B are those in its basis."""
    a, b = hippo_legs(size)
    p = np.sqrt(np.arange(size) + 0.5)
    normal = a + np.outer(p, p)
    np.testing.assert_allclose(normal @ normal.T, normal.T @ normal, atol=1e-9 * size**4)
    eigenvalues = np.linalg.eigvals(normal)
    np.testing.assert_allclose(eigenvalues.real, -0.5, atol=1e-9 * size)
    got, weight = s4d_legs(size)
    np.testing.assert_allclose(
        np.sort(np.concatenate([got.imag, -got.imag])), np.sort(eigenvalues.imag), atol=1e-9 * size
    )
    assert (got.imag > 0).all()
    for t in (0.1, 1.0):  # b^T exp(t A) b, which no choice of basis or phase changes
        expected = b @ linalg.expm(t * normal) @ b
        assert 2 * (weight**2 * np.exp(t * got)).sum().real == pytest.approx(expected, rel=1e-6)


def test_s4d_legs_recovers_hippo_as_it_grows():
    """The paper's theorem: the normal part with B halved answers as HiPPO-LegS does, in the limit.

    Answers to a unit step: kernels themselves converge only on average. The first state of
    HiPPO-LegS answers 1 - exp(-t).
    """
    times, errors = np.linspace(0.2, 3, 15), []
    for size in (16, 64, 256):
        a, b = hippo_legs(size)
        p = np.sqrt(np.arange(size) + 0.5)
        frequencies, basis = np.linalg.eigh(-1j * (a + np.outer(p, p) + np.eye(size) / 2))
        np.testing.assert_allclose(frequencies[size // 2 :], s4d_legs(size)[0].imag, rtol=1e-6)
        eigenvalues, weight = -0.5 + 1j * frequencies, basis[0] * (basis.conj().T @ b / 2)
        answer = (weight * np.expm1(np.outer(times, eigenvalues)) / eigenvalues).sum(1).real
        errors.append(np.abs(answer - (1 - np.exp(-times))).max())
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[2] < 0.001


# Discretisation and kernel of S4D


@pytest.mark.parametrize("initial", list(INITIAL))
@pytest.mark.parametrize("method", ["zoh", "bilinear"])
@pytest.mark.parametrize("rate", [1.0, 2.0, 0.3])
def test_discretisation_is_scipys(initial, method, rate):
    """A and B at the layer's steps, against ``scipy.signal.cont2discrete``."""
    layer = s4d(initial=initial, discretisation=method)
    layer.rate = rate
    exponent, b = (v.detach().numpy() for v in layer.discretised())
    for channel in range(3):
        a_dense, b_dense, c_dense = dense(layer, channel)
        dt = layer.log_dt[channel].exp().item() / rate
        system = a_dense, b_dense, c_dense, np.zeros((1, 1))
        a_discrete, b_discrete, *_ = signal.cont2discrete(system, dt, method=method)
        np.testing.assert_allclose(np.exp(exponent[channel]), np.diag(a_discrete)[:4], rtol=1e-9)
        np.testing.assert_allclose(b[channel], b_discrete[:4, 0], rtol=1e-9)


@pytest.mark.parametrize("initial", list(INITIAL))
@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_kernel_is_the_dense_recurrence(initial, method):
    """C A^t B with dense matrices of both states of each pair, by powers of the matrix."""
    layer = s4d(initial=initial, discretisation=method, learn_b=True)
    kernel = layer.kernel(50).detach().numpy()
    for channel in range(3):
        a, b, c = dense(layer, channel)
        dt, one = layer.log_dt[channel].exp().item(), np.eye(8)
        if method == "zoh":
            step = linalg.expm(dt * a)
            drive = np.linalg.solve(a, (step - one) @ b)
        else:
            step = np.linalg.solve(one - dt / 2 * a, one + dt / 2 * a)
            drive = np.linalg.solve(one - dt / 2 * a, dt * b)
        expected = [(c @ np.linalg.matrix_power(step, t) @ drive).item() for t in range(50)]
        np.testing.assert_allclose(kernel[channel], np.real(expected), rtol=1e-9, atol=1e-12)


# Layers


@pytest.mark.parametrize("length", [1, 2, 17, 101])
@pytest.mark.parametrize("make", [s4d, lru])
def test_layers_step_as_they_convolve(make, length):
    """Step by step and in parallel a layer gives the same, in double precision to 1e-10."""
    layer = make()
    x = torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), stepped(layer, x), rtol=1e-10, atol=1e-10)


def test_lru_is_its_formula():
    """Re(C lambda^t gamma B) is the response to an impulse, by powers of a dense matrix."""
    layer = lru(r_min=0.5, r_max=0.9)
    radius = torch.exp(-layer.nu_log.exp()).detach().numpy()
    factor = np.diag(radius * np.exp(1j * layer.theta_log.exp().detach().numpy()))
    b = torch.view_as_complex(layer.b).detach().numpy()
    c = torch.view_as_complex(layer.c).detach().numpy().conj()
    gamma = layer.gamma_log.exp().detach().numpy()[:, None]
    for channel in range(3):
        x = torch.zeros(1, 20, 3, dtype=torch.float64)
        x[0, 0, channel] = 1.0
        y = (layer(x) - layer.d * x)[0].detach().numpy()
        for t in range(20):
            expected = (c @ np.linalg.matrix_power(factor, t) @ (gamma * b))[:, channel].real
            np.testing.assert_allclose(y[t], expected, atol=1e-12)


def test_lru_starts_in_its_ring():
    """Eigenvalues are uniform on the ring, at phases up to the largest."""
    layer = lru(state_size=20_000, r_min=0.4, r_max=0.9, max_phase=1.5)
    exponent = layer.discretised()[0].detach()
    square, phase = (2 * exponent.real).exp(), exponent.imag
    assert square.min() >= 0.4**2 - 1e-6
    assert square.max() <= 0.9**2 + 1e-6
    shares = torch.histc(square, 10, 0.4**2, 0.9**2) / len(square)
    torch.testing.assert_close(shares, torch.full_like(shares, 0.1), rtol=0, atol=0.015)
    assert 0 < phase.min() < 0.01
    assert 1.49 < phase.max() <= 1.5
    torch.testing.assert_close(layer.gamma_log.exp() ** 2, 1 - square, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ring", [(0.0, 1.0), (0.0, 0.5), (0.9, 0.999)])
def test_lru_starts_finite(ring):
    """All parameters and their gradients are finite at the ends of the ring."""
    layer = lru(state_size=100_000, r_min=ring[0], r_max=ring[1])
    exponent, b = layer.discretised()
    (exponent.abs().sum() + b.abs().sum()).backward()
    for parameter in (layer.nu_log, layer.theta_log, layer.gamma_log):
        assert parameter.isfinite().all()
        assert parameter.grad.isfinite().all()


def test_lru_states_have_the_variance_of_what_drives_them():
    """White noise makes states as large as B x, for eigenvalues near the unit circle too."""
    layer = lru(channels=8, state_size=64, r_min=0.8, r_max=0.99)
    x = torch.randn(4, 5000, 8, dtype=torch.float64)
    exponent, b = layer.discretised()
    driven = x.to(b.dtype) @ b.mT
    states = scan(driven, exponent)[:, 1000:]
    gained = driven / layer.gamma_log.exp()
    ratio = states.abs().square().mean() / gained.abs().square().mean()
    assert ratio.item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("nu", [-20.0, 0.0, 5.0])
def test_lru_is_stable_whatever_it_learns(nu):
    """No value of its parameters makes a factor above 1."""
    layer = lru()
    with torch.no_grad():
        layer.nu_log.fill_(nu)
    assert layer.discretised()[0].real.max() < 0


# Other sampling rates


@pytest.mark.parametrize("make", [s4d, lru])
def test_layers_transfer_exactly_between_rates_for_inputs_that_are_held(make):
    """At twice the rate, with every input held for two steps, every second output is the same."""
    layer = make()
    x = torch.randn(2, 33, 3, dtype=torch.float64)
    expected = layer(x)
    layer.rate = 2.0
    held = layer(x.repeat_interleave(2, dim=1))
    torch.testing.assert_close(held[:, 1::2], expected, rtol=1e-10, atol=1e-10)


def test_bilinear_transfers_between_rates_for_smooth_inputs():
    """Twice as fine a step changes little where the signal is smooth, and ever less."""
    differences = []
    for fine in (1, 2, 4):
        layer = s4d(discretisation="bilinear", step_min=0.01, step_max=0.02, state_size=4)
        layer.rate = float(fine)
        time = torch.linspace(0, 6, 60 * fine + 1, dtype=torch.float64)
        y = layer(time.sin()[None, :, None].expand(1, -1, 3))
        layer.rate = 2.0 * fine
        time = torch.linspace(0, 6, 120 * fine + 1, dtype=torch.float64)
        z = layer(time.sin()[None, :, None].expand(1, -1, 3))
        differences.append((z[:, ::2] - y).abs().max().item() / y.abs().max().item())
    assert differences[0] < 0.05
    assert differences[0] > 1.5 * differences[1] > 2.25 * differences[2]
