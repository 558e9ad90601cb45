"""Floating-point operations of one forward pass: counted, or ``None``, never a low number."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Formula: TypeAlias = Callable[..., int]
"""FLOPs of a call, given its arguments and its result as ``out_val``: as PyTorch's registry."""


def count_flops(network: nn.Module, x: Float[Tensor, "batch channel *shape"]) -> int | None:
    """FLOPs of one forward pass of a network on ``x``, in eval mode; ``None`` if it is not known.

    Counted, a multiply-add as two: matrix products and convolutions (padding included), biases
    apart; attention, the whole square even if masked; recurrent layers, 2 FLOPs for each entry
    of a weight matrix and each time step; Fourier transforms of n points, 5 n log2 n complex and
    2.5 n log2 n with a real side (the usual convention, see http://fftw.org/speed). Products of
    complex operands cost four times as much. Zero by convention: views, copies, indexing,
    sorting, factories, random numbers, reductions, normalisation, pooling, resampling, and every
    operator that PyTorch tags as pointwise.

    An operator that is neither counted nor known to be free makes the answer ``None``, and so
    does memory that something outside PyTorch's dispatcher filled, such as a Triton kernel: wrap
    it by ``torch.library`` and give a formula by
    ``torch.utils.flop_counter.register_flop_formula``.

    What a network may keep between calls (a sampled kernel) is counted as computed anew, if
    ``train`` drops it.
    """
    was_training = network.training
    network.train().eval()
    counter = Counter()
    try:
        with torch.inference_mode(), _eager(), counter:
            y = network(x)
        counter.read(y)
    finally:
        network.train(was_training)
    return None if counter.unknown else counter.flops


@contextmanager
def _eager() -> Iterator[None]:
    """No fused fast paths and no compiled code, which a dispatch mode cannot look into."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class Counter(TorchDispatchMode):
    """Adds up the FLOPs of every operator called within it, and collects what it does not know."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.unknown: set[str] = set()
        self._unwritten: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, OpOverload):  # a higher-order operator: its body is not seen
            self.unknown.add(str(func))
            return func(*args, **kwargs)
        formula = formula_of(func)
        if formula is None and not is_free(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
            self.unknown.add(str(func))
        out = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=out) * _complex_factor(func, args)
        self._follow(func, args, kwargs, out)
        return out

    def read(self, value: Any) -> None:
        """Note a use of tensors; what no operator seen has written to is unknown."""
        if any(_address(tensor) in self._unwritten for tensor in _tensors(value)):
            self.unknown.add("memory filled outside PyTorch's dispatcher")

    def _follow(self, func: OpOverload, args: Any, kwargs: Any, out: Any) -> None:
        if _name(func) in _ALLOCATES:
            self._unwritten.update(_address(tensor) for tensor in _tensors(out) if tensor.numel())
            return
        if func.is_view:
            return
        written = [out]
        for i, argument in enumerate(func._schema.arguments):  # noqa: SLF001  (no public way)
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            if argument.is_write:
                written.append(value)
            else:
                self.read(value)
        self._unwritten.difference_update(_address(tensor) for tensor in _tensors(written))


_ALLOCATES = {
    "aten::empty",
    "aten::empty_like",
    "aten::empty_permuted",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
}


def _name(func: OpOverload) -> str:
    name: str = func.name()
    return name.partition(".")[0]


def _tensors(value: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(value)
    return [t for t in leaves if isinstance(t, Tensor) and t.layout == torch.strided]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


# What is counted


def formula_of(func: OpOverload) -> Formula | None:
    """How the FLOPs of an operator are counted: by a formula here, or by PyTorch's registry."""
    return _FORMULAS.get(_name(func)) or flop_registry.get(func.overloadpacket)


def _complex_factor(func: OpOverload, args: tuple[Any, ...]) -> int:
    """A complex multiply-add is four real ones; Fourier transforms know their own cost."""
    product = func.namespace == "aten" and not _name(func).startswith("aten::_fft")
    return 4 if product and any(tensor.is_complex() for tensor in _tensors(args)) else 1


def _dot(a: Tensor, *_: Any, **__: Any) -> int:
    return 2 * a.numel()


def _linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * len(weight)


def _convolution(_x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Each position of the output takes 2 FLOPs for each entry of the weight."""
    return 2 * weight.numel() * (out_val.numel() // len(weight))


def _transposed_convolution(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """Each position of the input takes 2 FLOPs for each entry of the weight."""
    return 2 * weight.numel() * (x.numel() // len(weight))


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    """Q K^T and its product with V; heads that share K and V are computed all the same."""
    return 2 * q.numel() // q.shape[-1] * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _complex_fourier(x: Tensor, dim: Sequence[int], *_: Any, **__: Any) -> int:
    points = math.prod(x.shape[d] for d in dim)
    return round(5 * x.numel() * math.log2(points)) if points else 0


def _real_fourier(x: Tensor, dim: Sequence[int], *_: Any, out_val: Tensor, **__: Any) -> int:
    """Half of a complex transform over the points of the real side."""
    return _complex_fourier(out_val if x.is_complex() else x, dim) // 2


def _recurrent(x: Tensor, weights: Sequence[Tensor]) -> int:
    """Every matrix of every gate, layer and direction meets one vector at each time step."""
    steps = x.numel() // x.shape[-1]
    return 2 * steps * sum(weight.numel() for weight in weights if weight.ndim == 2)


def _recurrent_onednn(x: Tensor, w_ih: Tensor, w_hh: Tensor, *_: Any, **__: Any) -> int:
    return _recurrent(x, [w_ih, w_hh])


def _recurrent_cudnn(x: Tensor, weights: Sequence[Tensor], *_: Any, **__: Any) -> int:
    return _recurrent(x, weights)


def _recurrent_mps(x: Tensor, _state: Any, weights: Sequence[Tensor], *_: Any, **__: Any) -> int:
    return _recurrent(x, weights)


_FORMULAS: dict[str, Formula] = {
    "aten::dot": _dot,
    "aten::vdot": _dot,
    "aten::mv": _dot,
    "aten::linear": _linear,
    "aten::conv1d": _convolution,
    "aten::conv2d": _convolution,
    "aten::conv3d": _convolution,
    "aten::conv_transpose1d": _transposed_convolution,
    "aten::conv_transpose2d": _transposed_convolution,
    "aten::conv_transpose3d": _transposed_convolution,
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": _attention,
    "aten::_scaled_dot_product_attention_math_for_mps": _attention,
    "aten::_fft_r2c": _real_fourier,
    "aten::_fft_c2r": _real_fourier,
    "aten::_fft_c2c": _complex_fourier,
    "aten::mkldnn_rnn_layer": _recurrent_onednn,
    "aten::_cudnn_rnn": _recurrent_cudnn,
    "aten::miopen_rnn": _recurrent_cudnn,
    "aten::_lstm_mps": _recurrent_mps,
}


# What is free


@functools.cache
def is_free(func: OpOverload) -> bool:
    """Whether an operator counts zero by convention."""
    name = _name(func)
    namespace, _, plain = name.rstrip("_").partition("::")
    if func.is_view or (namespace in {"aten", "prim"} and plain in _FREE):
        return True
    in_place = func.overloadpacket
    packets = (in_place, getattr(getattr(torch.ops, namespace), plain, in_place))
    return any(
        tag in getattr(packet, overload).tags
        for packet in packets
        for overload in packet.overloads()
        for tag in _FREE_TAGS
    )


_FREE_TAGS = (
    torch.Tag.pointwise,
    torch.Tag.reduction,
    torch.Tag.view_copy,
    torch.Tag.inplace_view,
)

_FREE_NAMES = (
    # Factories and random numbers, dropout among them.
    """
    arange bernoulli complex empty empty_like empty_permuted empty_strided exponential eye
    fft_fftfreq fft_rfftfreq full full_like linspace logspace multinomial native_dropout
    new_empty new_empty_strided new_full new_ones new_zeros normal ones ones_like polar rand
    rand_like randint randint_like randn randn_like random randperm scalar_tensor tril_indices
    triu_indices uniform zeros zeros_like hann_window hamming_window blackman_window
    kaiser_window bartlett_window
    """
    # Copies and rearrangements.
    """
    _reshape_copy _to_copy _unsafe_view block_diag cat channel_shuffle clone col2im
    constant_pad_nd copy diag_embed fill flip im2col lift pixel_shuffle pixel_unshuffle
    reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d roll rot90 stack tril triu unsafe_split
    unsafe_split_with_sizes zero
    """
    # Indexing and sorting.
    """
    _unsafe_index _unsafe_index_put _unsafe_masked_index as_strided_scatter bucketize
    diagonal_scatter embedding gather index index_add index_copy index_fill index_put
    index_reduce index_select kthvalue masked_scatter masked_select nonzero put scatter
    scatter_add scatter_reduce searchsorted select_scatter slice_scatter sort take topk
    """
    # Reductions, running ones among them, and activations that carry no tag.
    """
    _aminmax _cummax_helper _cummin_helper _logcumsumexp cummax cummin cumprod cumsum glu
    log_sigmoid_forward logcumsumexp median mode nanmedian trace _prelu_kernel
    """
    # Normalisation.
    """
    _batch_norm_no_update _batch_norm_with_update _fused_rms_norm _log_softmax _masked_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _safe_softmax _softmax
    _weight_norm_interface cudnn_batch_norm miopen_batch_norm native_batch_norm
    native_group_norm native_layer_norm
    """
    # Pooling and resampling.
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d
    max_pool2d_with_indices max_pool3d_with_indices upsample_bilinear2d upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d
    """
    # The elementwise part of recurrent cells on a GPU, and bookkeeping.
    """
    _assert_async _assert_scalar _assert_tensor_metadata _cudnn_init_dropout_state
    _cudnn_rnn_flatten_weight _functional_assert_async _local_scalar_dense
    _pack_padded_sequence _thnn_fused_gru_cell _thnn_fused_lstm_cell device equal is_pinned
    is_same_size
    """
)
_FREE = frozenset(_FREE_NAMES.split())
