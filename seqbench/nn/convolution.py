"""Convolutions over one or more axes, exact for every length: directly, by FFT, and generated.

All of them compute ``y[b, o, t] = sum over i, j of h[o, i, j] x[b, i, t + offset - j]`` for t from
0 to ``size - 1``, along every axis, with x zero outside. With offset 0 and the size of x (the
defaults) that is the causal convolution: the first tap of a kernel belongs to the current step,
the next to the one before. An offset of half the kernel centres it; the offset ``L - m`` gives
the last m outputs alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Sizes = Sequence[int]

_CHUNK_BYTES = 8 << 20
"""Frequencies, and examples, are worked on in chunks whose largest array is about so big."""


@dataclass(frozen=True)
class Window:
    """Which outputs of a convolution are wanted: along every axis, of a kernel of ``taps``."""

    taps: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True)
class Blocks(Window):
    """How a window is computed by transforms: overlap-save in blocks, along every axis.

    Outputs come in blocks of ``hop``, each from the transform of ``n`` inputs that begin
    ``taps - 1`` before it, so that no wanted output is mixed with another that wraps around.
    """

    n: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of time, counted from the last."""
        return tuple(range(-len(self.n), 0))

    @property
    def hop(self) -> tuple[int, ...]:
        """Outputs of a block."""
        return tuple(n - k + 1 for n, k in zip(self.n, self.taps, strict=True))

    @property
    def count(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-m // hop) for m, hop in zip(self.size, self.hop, strict=True))

    @property
    def half(self) -> tuple[int, ...]:
        """Frequencies of a real transform along each axis."""
        return (*self.n[:-1], self.n[-1] // 2 + 1)

    def padding(self, shape: Sizes) -> list[int]:
        """What stands before and after the inputs of all blocks, as ``functional.pad`` takes it."""
        axes = zip(shape, self.taps, self.offset, self.hop, self.count, strict=True)
        sides = [(k - 1 - c, count * hop + c - length) for length, k, c, hop, count in axes]
        return [side for pair in reversed(sides) for side in pair]

    def inputs(self, x: Float[Tensor, "batch channel *time"]) -> Tensor:
        """The inputs of every block: (batch, channel, blocks..., n...)."""
        x = _padded(x, self.padding(x.shape[2:]))
        for axis, (n, hop) in enumerate(zip(self.n, self.hop, strict=True)):
            x = x.unfold(2 + axis, n, hop)
        return x

    def add_inputs(self, blocks: Tensor, shape: Sizes) -> Tensor:
        """What ``inputs`` does, transposed: the sum of overlapping blocks."""
        for axis in reversed(range(len(self.n))):
            blocks = _overlap_added(blocks, 2 + axis, self.hop[axis])
        return _padded(blocks, [-side for side in self.padding(shape)])

    def outputs(self, blocks: Tensor) -> Tensor:
        """The wanted outputs of every block, one after the other."""
        kept = blocks[_corner([k - 1 for k in self.taps], [None] * len(self.taps))]
        dims = len(self.n)
        order = [0, 1, *(2 + a + b * dims for a in range(dims) for b in range(2))]
        joined = kept.permute(order).reshape(
            *kept.shape[:2], *(c * h for c, h in zip(self.count, self.hop, strict=True))
        )
        return joined[_corner([0] * dims, self.size)]

    def place_outputs(self, y: Tensor) -> Tensor:
        """What ``outputs`` does, transposed: outputs at their places in blocks of zeros."""
        short = [c * h - m for c, h, m in zip(self.count, self.hop, self.size, strict=True)]
        before = [k - 1 for k in self.taps]
        if math.prod(self.count) == 1:
            sides = [side for pair in zip(before, short, strict=True) for side in pair[::-1]]
            y = _padded(y, sides[::-1])
            return y.reshape(*y.shape[:2], *self.count, *self.n)
        y = _padded(y, [side for s in reversed(short) for side in (0, s)])
        for axis, hop in enumerate(self.hop):
            y = y.unfold(2 + axis, hop, hop)
        return _padded(y, [side for k in reversed(before) for side in (k, 0)])


def _corner(starts: Sizes, ends: Sequence[int | None]) -> tuple[Any, ...]:
    """The index of the part from ``starts`` to ``ends`` along the last axes."""
    return ..., *(slice(start, end) for start, end in zip(starts, ends, strict=True))


def _padded(x: Tensor, sides: Sequence[int]) -> Tensor:
    """``functional.pad``, which copies; where nothing is added, a view."""
    if max(sides) > 0:
        return functional.pad(x, list(sides))
    for axis, (before, after) in enumerate(zip(sides[::2], sides[1::2], strict=True)):
        x = x.narrow(-1 - axis, -before, x.shape[-1 - axis] + before + after)
    return x


def _reached(x: Tensor, taps: Sizes, offset: Sizes, size: Sizes) -> Tensor:
    """The inputs that meet any of the taps, with zeros where there are none."""
    axes = zip(x.shape[2:], taps, offset, size, strict=True)
    sides = [(k - 1 - c, c + m - length) for length, k, c, m in axes]
    return _padded(x, [side for pair in reversed(sides) for side in pair])


def _overlap_added(blocks: Tensor, axis: int, hop: int) -> Tensor:
    """Blocks along ``axis``, their samples along the last axis, added up ``hop`` apart."""
    count, n = blocks.shape[axis], blocks.shape[-1]
    blocks = blocks.movedim((axis, -1), (-2, -1))
    if count == 1:
        return blocks.squeeze(-2).movedim(-1, axis)
    out = blocks.new_zeros(*blocks.shape[:-2], (count - 1) * hop + n)
    for i in range(count):
        out[..., i * hop : i * hop + n] += blocks[..., i, :]
    return out.movedim(-1, axis)


def direct_convolution(
    x: Float[Tensor, "batch c_in *time"],
    kernel: Float[Tensor, "c_out c_in_of_group *tap"],
    offset: Sizes | None = None,
    size: Sizes | None = None,
) -> Float[Tensor, "batch c_out *out"]:
    """The convolution in the time domain: time x taps products a pair of channels.

    A kernel over fewer channels than ``x`` has is one of so many groups: over 1, of each channel.
    """
    taps = kernel.shape[2:]
    padded = _reached(x, taps, *_defaults(x.shape[2:], offset, size))
    mirrored = kernel.flip(list(range(2, kernel.ndim)))
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(taps) - 1]
    return convolve(padded, mirrored, groups=x.shape[1] // kernel.shape[1])


def fft_convolution(
    x: Float[Tensor, "batch c_in *time"],
    kernel: Float[Tensor, "c_out c_in *tap"],
    offset: Sizes | None = None,
    size: Sizes | None = None,
) -> Float[Tensor, "batch c_out *out"]:
    """The convolution by real Fourier transforms."""
    blocks = one_block(x.shape[2:], kernel.shape[2:], offset, size)
    ones = (1,) * len(blocks.n)
    signal = torch.fft.rfftn(blocks.inputs(x), dim=blocks.axes)
    spectrum = torch.fft.rfftn(kernel, s=blocks.n, dim=blocks.axes).unflatten(1, (-1, *ones))
    y = torch.einsum("b i ..., o i ... -> b o ...", signal, spectrum)
    # The length must be given: half a spectrum does not say whether the signal's was odd.
    return blocks.outputs(torch.fft.irfftn(y, s=blocks.n, dim=blocks.axes))


def depthwise_fft_convolution(
    x: Float[Tensor, "batch channel *time"],
    kernel: Float[Tensor, "channel 1 *tap"],
    offset: Sizes | None = None,
    size: Sizes | None = None,
) -> Float[Tensor, "batch channel *out"]:
    """The convolution of each channel by itself, by real Fourier transforms."""
    y: Tensor = _Depthwise.apply(x, kernel, one_block(x.shape[2:], kernel.shape[2:], offset, size))
    return y


class _Depthwise(torch.autograd.Function):
    """The convolution of each channel by itself; the gradients by real transforms too.

    With X, K and G the transforms of x, of the kernel and of the gradient: dX = G K^H, and
    dK = X^H G, summed over the batch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, blocks: Blocks) -> Tensor:
        signal = torch.fft.rfftn(blocks.inputs(x), dim=blocks.axes)
        spectrum = torch.fft.rfftn(kernel, s=blocks.n, dim=blocks.axes)
        spectrum = spectrum.unflatten(1, (1,) * len(blocks.n))
        ctx.save_for_backward(signal, spectrum)
        ctx.blocks, ctx.shape = blocks, x.shape
        return blocks.outputs(torch.fft.irfftn(signal * spectrum, s=blocks.n, dim=blocks.axes))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        signal, spectrum = ctx.saved_tensors
        blocks: Blocks = ctx.blocks
        n, axes = blocks.n, blocks.axes
        transformed = torch.fft.rfftn(blocks.place_outputs(gradient), dim=axes)
        dx = d_kernel = None
        if ctx.needs_input_grad[0]:
            samples = torch.fft.irfftn(transformed * spectrum.conj(), s=n, dim=axes)
            dx = blocks.add_inputs(samples, ctx.shape[2:])
        if ctx.needs_input_grad[1]:
            products = (transformed * signal.conj()).sum((0, *range(2, 2 + len(n))))
            taps = torch.fft.irfftn(products, s=n, dim=axes)[_corner([0] * len(n), blocks.taps)]
            d_kernel = taps.unsqueeze(1)
        return dx, d_kernel, None


def generated_convolution(
    x: Float[Tensor, "batch c_in *time"],
    features: Float[Tensor, "*tap feature"],
    mixing: Float[Tensor, "c_out_x_c_in feature"],
    bias: Float[Tensor, " c_out"] | None = None,
    blocks: Blocks | None = None,
) -> Float[Tensor, "batch c_out *out"]:
    """The convolution whose kernel is ``mixing @ features[tap]`` at each tap, never formed in time.

    The last linear layer of a kernel network commutes with the Fourier transform, so its few
    features are transformed instead of the many kernels, and one matrix product makes the
    kernels' spectrum, a chunk of frequencies at a time, again in the backward pass. ``bias`` is
    added to the outputs.
    """
    blocks = blocks or one_block(x.shape[2:], features.shape[:-1])
    y: Tensor = _Generated.apply(x, features, mixing, bias, blocks)
    return y


def generated_output(
    x: Float[Tensor, "batch c_in *time"],
    features: Float[Tensor, "*tap feature"],
    mixing: Float[Tensor, "c_out_x_c_in feature"],
    bias: Float[Tensor, " c_out"] | None,
    window: Window,
) -> Float[Tensor, "batch c_out *one"]:
    """The single output of a window of size 1, with the kernel of ``generated_convolution``.

    The input meets the few features first, so that not even for one tap a kernel is formed.
    """
    met = _reached(x, window.taps, window.offset, window.size).flatten(2)
    mirrored = features.flip(list(range(features.ndim - 1))).flatten(0, -2)
    by_feature = (met @ mirrored).flatten(1)
    y = by_feature @ rearrange(mixing, "(o i) feature -> (i feature) o", i=x.shape[1])
    return (y if bias is None else y + bias).reshape(*y.shape, *window.size)


def generated_spectrum(
    features: Float[Tensor, "*tap feature"],
    mixing: Float[Tensor, "c_out_x_c_in feature"],
    c_in: int,
    blocks: Blocks,
) -> Complex[Tensor, "freq c_in c_out"]:
    """The spectrum of the kernel ``mixing @ features[tap]`` at the blocks' frequencies."""
    spectrum = _feature_spectrum(features, blocks) @ _complex(_by_feature(mixing, c_in))
    pairs: Tensor = spectrum.unflatten(1, (c_in, -1))
    return pairs


def filtered(
    x: Float[Tensor, "batch c_in *time"],
    spectrum: Complex[Tensor, "freq c_in c_out"],
    bias: Float[Tensor, " c_out"] | None,
    blocks: Blocks,
) -> Float[Tensor, "batch c_out *out"]:
    """The convolution with a kernel of which the spectrum is given; without gradients."""
    whole = spectrum.flatten(1)
    kernel = _Kernel(whole[:, :0], whole[:0], x.shape[1], whole)
    return _convolved(x, _empty_spectrum(x, blocks), kernel, bias, blocks)


@dataclass
class _Kernel:
    """The spectrum of a generated kernel, whole or made a chunk of frequencies at a time."""

    bases: Complex[Tensor, "freq feature"]
    weight: Complex[Tensor, "feature c_in_x_c_out"]
    c_in: int
    whole: Tensor | None = None

    def at(self, part: slice) -> Complex[Tensor, "part c_in c_out"]:
        """The spectrum at some frequencies."""
        spectrum = self.bases[part] @ self.weight if self.whole is None else self.whole[part]
        pairs: Tensor = spectrum.unflatten(1, (self.c_in, -1))
        return pairs

    def products(
        self, signal: Tensor, parts: Iterator[slice], *, transposed: bool = False
    ) -> Iterator[tuple[slice, Complex[Tensor, "freq batch block channel"]]]:
        """The product with the spectra of some examples after the others, as ``parts`` fills them.

        With the whole spectrum at hand what was just transformed is still in cache. Otherwise all
        of the signal is awaited, so that each frequency of the spectrum is made once.
        """
        if self.whole is not None:
            pairs = self.at(slice(None))
            for part in parts:
                yield part, _product(signal[:, part], pairs.mT if transposed else pairs)
            return
        filled = list(parts)
        channels = self.c_in if transposed else self.weight.shape[1] // self.c_in
        product = signal.new_empty(*signal.shape[:3], channels)
        for chunk in _chunks(signal, channels):
            pairs = self.at(chunk)
            product[chunk] = _product(signal[chunk], pairs.mT if transposed else pairs)
        for part in filled:
            yield part, product[:, part]


def _product(signal: Tensor, pairs: Tensor) -> Tensor:
    rows: Tensor = signal.flatten(1, 2)
    # One channel makes an outer product, for which a batched product is slow.
    product = rows * pairs if pairs.shape[1] == 1 else torch.bmm(rows, pairs)
    return product.reshape(*signal.shape[:3], -1)


class _Generated(torch.autograd.Function):
    """The generated convolution; real transforms alone, nothing kept twice.

    Formulas: with X, P the transforms of x and of the features and K = P W that of the kernel,
    Y = X K. For the transform G of the gradient: dX = G K^H, dK = X^H G, dP = dK W^T, and
    dW = sum over all frequencies of P^H dK / n, of which a real transform holds one half.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  (what there is)
        ctx: Any, x: Tensor, features: Tensor, mixing: Tensor, bias: Tensor | None, blocks: Blocks
    ) -> Tensor:
        signal = _empty_spectrum(x, blocks)
        bases = _feature_spectrum(features, blocks)
        kernel = _Kernel(bases, _complex(_by_feature(mixing, x.shape[1])), x.shape[1])
        # A spectrum no larger than the signal's is made whole, and kept for the backward pass.
        if kernel.weight.shape[1] <= signal[0].numel():
            kernel.whole = bases @ kernel.weight
        y = _convolved(x, signal, kernel, bias, blocks)
        ctx.save_for_backward(signal, bases, kernel.weight, kernel.whole)
        ctx.blocks, ctx.shape = blocks, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        signal, bases, weight, whole = ctx.saved_tensors
        blocks, shape = ctx.blocks, ctx.shape
        kernel = _Kernel(bases, weight, shape[1], whole)
        conjugate = _empty_spectrum(gradient, blocks)
        parts = _transformed(gradient, blocks, blocks.place_outputs, conjugate, conjugated=True)
        dx = d_features = d_mixing = d_bias = None
        if ctx.needs_input_grad[0]:
            dx = gradient.new_empty(shape)
            for part, product in kernel.products(conjugate, parts, transposed=True):
                samples = _in_time(_gathered(product).conj_physical_(), blocks)
                dx[part] = blocks.add_inputs(samples, shape[2:])
        else:
            list(parts)
        if any(ctx.needs_input_grad[1:3]):
            d_features, d_mixing = _kernel_gradients(signal, conjugate, kernel, blocks)
        if ctx.needs_input_grad[3]:
            d_bias = conjugate[0].real.sum((0, 1))
        return dx, d_features, d_mixing, d_bias, None


def _kernel_gradients(
    signal: Tensor, conjugate: Tensor, kernel: _Kernel, blocks: Blocks
) -> tuple[Tensor, Tensor]:
    d_bases, d_weight = torch.empty_like(kernel.bases), torch.zeros_like(kernel.weight)
    share = _half_spectrum_share(blocks, kernel.bases)
    for part in _chunks(signal, conjugate.shape[3]):
        rows = signal[part].flatten(1, 2)
        d_kernel = torch.bmm(rows.mT, conjugate[part].flatten(1, 2)).flatten(1)
        torch.mm(d_kernel, kernel.weight.mT, out=d_bases[part])
        d_weight.addmm_((kernel.bases[part] * share[part]).mT, d_kernel)
    whole = d_bases.conj_physical_().unflatten(0, blocks.half)
    back = torch.fft.irfftn(whole, s=blocks.n, dim=tuple(range(len(blocks.n))))
    d_features = back[tuple(slice(0, k) for k in blocks.taps)]
    return d_features, _by_pair(d_weight.real, kernel.c_in)


def _convolved(
    x: Tensor, signal: Tensor, kernel: _Kernel, bias: Tensor | None, blocks: Blocks
) -> Tensor:
    """The convolution; ``signal`` is filled with the spectrum of ``x``."""
    y = x.new_empty(len(x), kernel.weight.shape[1] // kernel.c_in, *blocks.size)
    parts = _transformed(x, blocks, blocks.inputs, signal)
    for part, product in kernel.products(signal, parts):
        if bias is not None:  # a constant in time, which is frequency 0
            product[0] += bias * math.prod(blocks.n)
        y[part] = blocks.outputs(_in_time(_gathered(product), blocks))
    return y


# Between time, (batch, channel, time), and frequency, (frequency, batch, block, channel): a few
# examples at a time, whose transposition is then in cache.


def _empty_spectrum(x: Tensor, blocks: Blocks) -> Tensor:
    kind = torch.promote_types(x.dtype, torch.complex32)
    shape = math.prod(blocks.half), len(x), math.prod(blocks.count), x.shape[1]
    return x.new_empty(shape, dtype=kind)


def _transformed(
    x: Tensor,
    blocks: Blocks,
    cut: Callable[[Tensor], Tensor],
    spectrum: Tensor,
    *,
    conjugated: bool = False,
) -> Iterator[slice]:
    """Fill ``spectrum`` and say, again and again, for which examples that is done."""
    for part in _examples(x, blocks):
        transformed = torch.fft.rfftn(cut(x[part]), dim=blocks.axes)
        if conjugated:
            transformed.conj_physical_()
        by_block = transformed.flatten(-len(blocks.n)).flatten(2, -2)
        spectrum[:, part] = by_block.permute(3, 0, 2, 1)
        yield part


def _gathered(product: Complex[Tensor, "freq batch block channel"]) -> Tensor:
    """(batch, channel, block, frequency), in memory of its own."""
    return product.permute(1, 3, 2, 0).contiguous()


def _in_time(spectrum: Tensor, blocks: Blocks) -> Tensor:
    """(batch, channel, blocks..., n...)."""
    by_axis = spectrum.unflatten(3, blocks.half).unflatten(2, blocks.count)
    # The length must be given: half a spectrum does not say whether the signal's was odd.
    samples: Tensor = torch.fft.irfftn(by_axis, s=blocks.n, dim=blocks.axes)
    return samples


def _examples(x: Tensor, blocks: Blocks) -> Iterator[slice]:
    """Slices of a batch whose transforms are of about ``_CHUNK_BYTES``; all of it off the CPU."""
    if x.device.type != "cpu":
        return _slices(len(x), max(1, len(x)))
    one = x.shape[1] * math.prod(blocks.count) * math.prod(blocks.n) * x.element_size()
    return _slices(len(x), max(1, _CHUNK_BYTES // one))


def _chunks(signal: Tensor, channels: int) -> Iterator[slice]:
    """Slices of frequencies whose spectra and products are of about ``_CHUNK_BYTES``."""
    frequencies, batch, count, c_in = signal.shape
    widest = max(c_in * channels, batch * count * max(c_in, channels))
    return _slices(frequencies, max(64, _CHUNK_BYTES // (widest * signal.element_size())))


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(length, start + step))


def _feature_spectrum(features: Tensor, blocks: Blocks) -> Complex[Tensor, "freq feature"]:
    dims = tuple(range(len(blocks.n)))
    spectrum: Tensor = torch.fft.rfftn(features, s=blocks.n, dim=dims)
    return spectrum.flatten(0, -2)


def _by_feature(
    mixing: Float[Tensor, "c_out_x_c_in feature"], c_in: int
) -> Float[Tensor, "feature c_in_x_c_out"]:
    return rearrange(mixing, "(c_out c_in) feature -> feature (c_in c_out)", c_in=c_in)


def _by_pair(
    weight: Float[Tensor, "feature c_in_x_c_out"], c_in: int
) -> Float[Tensor, "c_out_x_c_in feature"]:
    return rearrange(weight, "feature (c_in c_out) -> (c_out c_in) feature", c_in=c_in)


def _complex(real: Tensor) -> Tensor:
    return torch.complex(real, torch.zeros_like(real))


def _half_spectrum_share(blocks: Blocks, like: Tensor) -> Tensor:
    """What each frequency of half a spectrum weighs in a sum over the whole, by 1 / n."""
    weight = 2.0 / math.prod(blocks.n)
    share = torch.full(blocks.half, weight, dtype=like.real.dtype, device=like.device)
    share[..., 0] /= 2
    if blocks.n[-1] % 2 == 0:
        share[..., -1] /= 2
    return share.reshape(-1, 1)


# Sizes


def one_block(
    shape: Sizes, taps: Sizes, offset: Sizes | None = None, size: Sizes | None = None
) -> Blocks:
    """All outputs from one transform."""
    offset, size = _defaults(shape, offset, size)
    n = [fast_length(m + k - 1) for m, k in zip(size, taps, strict=True)]
    return Blocks(tuple(taps), tuple(offset), tuple(size), tuple(n))


def _defaults(shape: Sizes, offset: Sizes | None, size: Sizes | None) -> tuple[Sizes, Sizes]:
    return (0,) * len(shape) if offset is None else offset, shape if size is None else size


@functools.cache
def fast_length(minimum: int) -> int:
    """The smallest length from ``minimum`` on whose real transforms are fast.

    It has no prime factor above 7 and is a multiple of 8 (below 16, of 2): real transforms of odd
    lengths take more than three times as long an element, of odd multiples of 2 or 4 a half more.
    """
    multiple = 8 if minimum > 16 else 2
    length = -(-minimum // multiple) * multiple
    while not _is_smooth(length):
        length += multiple
    return length


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1
