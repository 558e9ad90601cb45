"""Laws of the convolutions: all ways compute the defining sum, for every length and window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqbench.nn.convolution import (
    Blocks,
    Window,
    depthwise_fft_convolution,
    direct_convolution,
    fast_length,
    fft_convolution,
    filtered,
    generated_convolution,
    generated_spectrum,
)
from seqbench.nn.convolution_cost import Channels, plan

law = settings(deadline=None, max_examples=25, derandomize=True)


def random(*shape: int) -> torch.Tensor:
    """Normal values in float64."""
    return torch.randn(*shape, dtype=torch.float64)


def by_definition(
    x: torch.Tensor,
    kernel: torch.Tensor,
    offset: Sequence[int] | None = None,
    size: Sequence[int] | None = None,
) -> torch.Tensor:
    """The defining sum, tap by tap: y[t] = sum over j of kernel[j] x[t + offset - j]."""
    shape, taps = x.shape[2:], kernel.shape[2:]
    offset, size = offset or (0,) * len(shape), size or tuple(shape)
    before = [k - 1 for k in taps]
    after = [c + m for c, m in zip(offset, size, strict=True)]
    sides = [side for pair in zip(before, after, strict=True) for side in pair[::-1]][::-1]
    padded = torch.nn.functional.pad(x, sides)
    y = torch.zeros(len(x), len(kernel), *size, dtype=x.dtype)
    for tap in itertools.product(*map(range, taps)):
        starts = [b + c - j for b, c, j in zip(before, offset, tap, strict=True)]
        part = [slice(s, s + m) for s, m in zip(starts, size, strict=True)]
        y += torch.einsum("bi...,oi->bo...", padded[(..., *part)], kernel[(..., *tap)])
    return y


@st.composite
def cases(draw: st.DrawFn, most: int, dims: int) -> tuple[tuple[int, ...], ...]:
    """The shape of an input and the fields of ``Blocks``: a window, and any transform length."""
    axes = []
    for _ in range(dims):
        length, taps = draw(st.integers(1, most)), draw(st.integers(1, most))
        offset = draw(st.integers(0, length + taps - 2))
        size = draw(st.integers(1, length + taps - 1 - offset))
        n = draw(st.integers(taps, size + taps + 3))
        axes.append((length, taps, offset, size, n))
    return tuple(zip(*axes, strict=True))


@pytest.mark.parametrize("taps", [1, 2, 5, 9])
def test_direct_is_the_defining_sum(taps: int) -> None:
    """The direct convolution is the double sum over input channels and taps."""
    torch.manual_seed(taps)
    x, kernel = random(2, 3, 7), random(4, 3, taps)
    torch.testing.assert_close(direct_convolution(x, kernel), by_definition(x, kernel))


def test_fft_equals_direct_for_every_length() -> None:
    """At every length from 1 to 200, kernels as long, shorter and longer: FFT equals direct."""
    torch.manual_seed(0)
    for length in range(1, 201):
        x = random(2, 3, length)
        for taps in {1, length // 3 + 1, length, length + 3}:
            kernel = random(4, 3, taps)
            torch.testing.assert_close(
                fft_convolution(x, kernel), direct_convolution(x, kernel), rtol=1e-9, atol=1e-9
            )


def test_generated_equals_direct_for_every_length() -> None:
    """At every length from 1 to 200, by one transform of a fast or exactly fitting length."""
    torch.manual_seed(0)
    for length in range(1, 201):
        x, mixing = random(2, 3, length), random(4 * 3, 5)
        for taps in {length // 3 + 1, length}:
            features = random(taps, 5)
            expected = direct_convolution(x, (mixing @ features.T).view(4, 3, taps))
            exact = Blocks((taps,), (0,), (length,), (length + taps - 1,))
            for blocks in (None, exact):
                y = generated_convolution(x, features, mixing, None, blocks)
                torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dims", "most"), [(1, 40), (2, 7), (3, 3)])
def test_every_way_is_the_defining_sum(dims: int, most: int) -> None:
    """Direct, by FFT and depthwise, for any window on one axis or more, full or a single output."""

    @law
    @given(cases(most, dims), st.integers(0, 2**32))
    def holds(case: tuple[tuple[int, ...], ...], seed: int) -> None:
        shape, *fields, _ = case
        window = Window(*fields)
        torch.manual_seed(seed)
        x, kernel = random(2, 3, *shape), random(4, 3, *window.taps)
        expected = by_definition(x, kernel, window.offset, window.size)
        for convolve in (direct_convolution, fft_convolution):
            y = convolve(x, kernel, window.offset, window.size)
            torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
        separate = random(3, 1, *window.taps)
        expected = by_definition(
            x, separate * torch.eye(3).view(3, 3, *(1,) * dims).double(), window.offset, window.size
        )
        for convolve in (direct_convolution, depthwise_fft_convolution):
            y = convolve(x, separate, window.offset, window.size)
            torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)

    holds()


@pytest.mark.parametrize(("dims", "most"), [(1, 40), (2, 7), (3, 3)])
def test_overlap_save_is_the_defining_sum(dims: int, most: int) -> None:
    """Blocks of any transform length, odd ones too, give the values and gradients of the sum."""

    @law
    @given(cases(most, dims), st.integers(0, 2**32))
    def holds(case: tuple[tuple[int, ...], ...], seed: int) -> None:
        shape, *fields = case
        blocks = Blocks(*fields)
        torch.manual_seed(seed)
        operands = [random(2, 3, *shape), random(*blocks.taps, 4), random(6, 4), random(2)]
        for operand in operands:
            operand.requires_grad_()
        x, features, mixing, bias = operands
        kernel = torch.movedim(features @ mixing.T, -1, 0).unflatten(0, (2, 3))
        expected = by_definition(x, kernel, blocks.offset, blocks.size)
        expected = expected + bias.view(-1, *(1,) * dims)
        ours = generated_convolution(x, features, mixing, bias, blocks)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
        cotangent = torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad(ours, operands, cotangent),
            torch.autograd.grad(expected, operands, cotangent),
            rtol=1e-9,
            atol=1e-9,
        )
        with torch.no_grad():
            spectrum = generated_spectrum(features, mixing, 3, blocks)
            torch.testing.assert_close(filtered(x, spectrum, bias, blocks), ours.detach())

    holds()


def test_chunks_and_groups_of_examples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the pieces that are worked on, values and gradients stay."""
    torch.manual_seed(0)
    operands = [random(5, 2, 300), random(20, 3), random(6, 3), random(3)]
    for operand in operands:
        operand.requires_grad_()
    blocks = Blocks((20,), (7,), (280,), (301,))
    cotangent = random(5, 3, 280)

    def computed() -> tuple[torch.Tensor, ...]:
        y = generated_convolution(*operands, blocks)
        return y.detach(), *torch.autograd.grad(y, operands, cotangent)

    expected = computed()
    monkeypatch.setattr("seqbench.nn.convolution._CHUNK_BYTES", 1)
    torch.testing.assert_close(computed(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        ((7,), Blocks((5,), (0,), (7,), (11,))),
        ((9,), Blocks((4,), (1,), (8,), (6,))),
        ((9,), Blocks((4,), (5,), (4,), (7,))),
        ((4, 5), Blocks((2, 3), (0, 1), (4, 4), (3, 5))),
        ((4, 5), Blocks((3, 2), (1, 0), (4, 5), (6, 6))),
    ],
    ids=str,
)
def test_generated_passes_gradcheck(shape: tuple[int, ...], blocks: Blocks) -> None:
    """Analytic gradients agree with finite differences, of one block and several, on two axes."""
    torch.manual_seed(0)
    operands = [random(2, 2, *shape), random(*blocks.taps, 3), random(6, 3), random(3)]
    for operand in operands:
        operand.requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: generated_convolution(*a, blocks), operands)


@pytest.mark.parametrize(
    "window",
    [
        Window((6,), (0,), (9,)),
        Window((4,), (3,), (5,)),
        Window((2, 3), (0, 1), (4, 4)),
    ],
    ids=str,
)
def test_depthwise_passes_gradcheck(window: Window) -> None:
    """Analytic gradients agree with finite differences, of all outputs and of some, on two axes.

    Alone, the gradient of each operand is the same.
    """
    torch.manual_seed(0)
    x = random(2, 3, *(9, 5)[: len(window.taps)]).requires_grad_()
    kernel = random(3, 1, *window.taps).requires_grad_()

    def convolve(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return depthwise_fft_convolution(x, kernel, window.offset, window.size)

    assert torch.autograd.gradcheck(convolve, (x, kernel))
    assert torch.autograd.gradcheck(convolve, (x.detach(), kernel))
    assert torch.autograd.gradcheck(convolve, (x, kernel.detach()))


def test_no_gradient_is_made_that_is_not_asked_for() -> None:
    """Gradients of each operand alone are those of all together."""
    torch.manual_seed(0)
    operands = [random(2, 2, 20), random(6, 3), random(6, 3), random(3)]
    cotangent = random(2, 3, 20)
    every = [operand.clone().requires_grad_() for operand in operands]
    together = torch.autograd.grad(generated_convolution(*every), every, cotangent)
    for i, expected in enumerate(together):
        alone = [operand.clone().requires_grad_(i == j) for j, operand in enumerate(operands)]
        (gradient,) = torch.autograd.grad(generated_convolution(*alone), alone[i], cotangent)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("dims", "most"), [(1, 600), (2, 40)])
def test_a_plan_keeps_the_window(dims: int, most: int) -> None:
    """Direct or in blocks, the outputs are those of the window, and blocks cover all of them."""

    @law
    @given(cases(most, dims), st.integers(1, 64), st.integers(1, 40))
    def holds(case: tuple[tuple[int, ...], ...], batch: int, channels: int) -> None:
        _, *fields, _ = case
        window = Window(*fields)
        chosen = plan(window, batch, Channels(channels, channels, features=33))
        assert chosen in (window, Blocks(*fields, getattr(chosen, "n", ())))
        if isinstance(chosen, Blocks):
            covered = [c * h for c, h in zip(chosen.count, chosen.hop, strict=True)]
            assert all(0 < m <= c for m, c in zip(window.size, covered, strict=True))

    holds()


def test_narrow_kernels_go_direct_and_long_ones_by_transforms() -> None:
    """Few taps: direct; many: one transform; a narrow kernel on a long signal: several blocks."""
    pair = Channels(30, 30, features=33)
    assert plan(Window((1,), (0,), (784,)), 64, pair) == Window((1,), (0,), (784,))
    whole = plan(Window((784,), (0,), (784,)), 64, pair)
    assert isinstance(whole, Blocks)
    assert math.prod(whole.count) == 1
    several = plan(Window((100,), (0,), (16000,)), 4, pair)
    assert isinstance(several, Blocks)
    assert math.prod(several.count) > 1


def test_fast_lengths_are_even_and_without_large_factors() -> None:
    """The least multiple of 8 (of 2 for short ones) without a prime factor above 7."""
    products = {
        2**a * 3**b * 5**c * 7**d
        for a, b, c, d in itertools.product(range(13), range(8), range(6), range(5))
    }
    for minimum in range(1, 2000):
        multiple = 8 if minimum > 16 else 2
        expected = min(n for n in products if n >= minimum and n % multiple == 0)
        assert fast_length(minimum) == expected
