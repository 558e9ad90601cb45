"""FLOPs against counts derived by hand; what is not known gives None, never a low number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqbench.flops import Counter, count_flops

CHANNELS, LENGTH, HIDDEN = 3, 20, 8


@pytest.fixture
def x():
    """One example."""
    return torch.linspace(-1, 1, CHANNELS * LENGTH).reshape(1, CHANNELS, LENGTH)


class Calls(nn.Module):
    """A network that is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Recurrent(nn.Module):
    """A recurrent layer on (batch, channel, time)."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.transpose(1, 2))[0]


def count(function, x):
    """FLOPs of a function."""
    return count_flops(Calls(function), x)


def test_linear_is_two_for_each_weight_and_position(x):
    """2 * positions * inputs * outputs; the bias counts zero."""
    assert count_flops(nn.Linear(LENGTH, 5), x) == 2 * CHANNELS * LENGTH * 5
    assert count_flops(nn.Linear(LENGTH, 5, bias=False), x) == 2 * CHANNELS * LENGTH * 5


def test_counts_grow_with_the_batch(x):
    """Seven examples cost seven times one."""
    network = nn.Conv1d(CHANNELS, 4, 3)
    assert count_flops(network, x.repeat(7, 1, 1)) == 7 * count_flops(network, x)


@pytest.mark.parametrize(("dilation", "padding"), [(1, 0), (2, 4), (4, 8)])
@pytest.mark.parametrize("groups", [1, 3])
def test_convolution(x, dilation, padding, groups):
    """2 * positions of the output * channels out * channels in a group * kernel size."""
    network = nn.Conv1d(CHANNELS, 6, 5, dilation=dilation, padding=padding, groups=groups)
    positions = LENGTH + 2 * padding - 4 * dilation
    assert count_flops(network, x) == 2 * positions * 6 * (CHANNELS // groups) * 5


def test_transposed_convolution_counts_positions_of_its_input(x):
    """2 * length of the input * channels in * channels out * kernel size."""
    network = nn.ConvTranspose1d(CHANNELS, 4, 5, stride=2)
    assert count_flops(network, x) == 2 * LENGTH * CHANNELS * 4 * 5


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers(x, kind, gates, layers, bidirectional):
    """2 * time * directions * gates * hidden * (inputs + hidden), summed over the layers.

    The first layer's inputs are the channels, a later one's the hidden units of all directions.
    """
    layer = kind(CHANNELS, HIDDEN, layers, batch_first=True, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    inputs = [CHANNELS] + [directions * HIDDEN] * (layers - 1)
    expected = sum(2 * LENGTH * directions * gates * HIDDEN * (i + HIDDEN) for i in inputs)
    assert count_flops(Recurrent(layer), x) == expected


def test_lstm_with_projection(x):
    """A third matrix takes hidden units to the projection, which the recurrence then sees."""
    layer = nn.LSTM(CHANNELS, HIDDEN, batch_first=True, proj_size=2)
    weights = 4 * HIDDEN * (CHANNELS + 2) + HIDDEN * 2
    assert count_flops(Recurrent(layer), x) == 2 * LENGTH * weights


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_count_the_same_in_and_out_of_inference_mode(x, kind, context):
    """PyTorch dispatches other operators in each mode; the sum is the same."""
    network = Recurrent(kind(CHANNELS, HIDDEN, 2, batch_first=True)).eval()
    with context(), Counter() as counter:
        network(x)
    assert counter.flops == count_flops(network, x)
    assert not counter.unknown


def test_cudnn_recurrence_counts_as_the_cpu_does(x):
    """The formula of cuDNN's operator, which takes the weights of all layers in one list."""
    from seqbench.flops import formula_of

    layer = nn.LSTM(CHANNELS, HIDDEN, 2, batch_first=True, bidirectional=True)
    formula = formula_of(torch.ops.aten._cudnn_rnn.default)
    weights = [weight for group in layer.all_weights for weight in group]
    counted = formula(x.mT, weights, 4, None, None, None, 2, HIDDEN, 0, out_val=None)
    assert counted == count_flops(Recurrent(layer), x)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_gpu_counts_as_the_cpu_does(x, kind):
    """Fused layers of cuDNN cost what the CPU's do."""
    network = Recurrent(kind(CHANNELS, HIDDEN, 2, batch_first=True))
    expected = count_flops(network, x)
    assert count_flops(network.cuda(), x.cuda()) == expected


def test_fft_convolution(x):
    """Two transforms there and one back of n points for each channel: 2.5 n log2 n each."""
    n = 64

    def convolve(x):
        spectrum = torch.fft.rfft(x, n=n) * torch.fft.rfft(x.flip(-1), n=n)
        return torch.fft.irfft(spectrum, n=n)

    assert count(convolve, x) == 3 * CHANNELS * 2.5 * n * math.log2(n)


@pytest.mark.parametrize("n", [1, 2, 12, 15])
def test_real_transforms_cost_half_of_complex_ones(n):
    """2.5 n log2 n against 5 n log2 n, at odd lengths too."""
    x = torch.ones(1, 4, n)
    real = count(torch.fft.rfft, x)
    assert real == math.floor(2.5 * 4 * n * math.log2(n) + 0.25)
    assert abs(count(lambda x: torch.fft.fft(x.cfloat()), x) - 2 * real) <= 1
    assert count(lambda x: torch.fft.irfft(x.cfloat(), n=n), x) == real


def test_a_transform_over_two_dimensions_is_one_of_their_product(x):
    """2.5 N log2 N for the N points of the plane."""
    points = CHANNELS * LENGTH
    assert count(torch.fft.rfft2, x) == math.floor(2.5 * points * math.log2(points))


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: torch.einsum("bct,ot->bco", a, b),
        torch.matmul,
        lambda a, b: torch.bmm(a, b.expand(1, -1, -1)),
        lambda a, b: torch.mm(a[0], b),
        lambda a, b: torch.addmm(torch.zeros((), dtype=b.dtype), a[0], b),
        functional.linear,
        lambda a, b: functional.conv1d(a, b[:, :CHANNELS, None]),
        lambda a, b: torch.mv(b, a[0, 0]),
        lambda a, b: torch.dot(b[0], a[0, 0]),
    ],
)
def test_complex_products_cost_four_real_ones(x, product):
    """For every kind of matrix product and convolution."""
    weight = torch.ones(LENGTH, LENGTH)
    real = count(lambda x: product(x, weight), x)
    assert real > 0
    assert count(lambda x: product(x.cfloat(), weight.cfloat()), x) == 4 * real


def test_complex_einsum_by_hand(x):
    """8 FLOPs (4 products, 4 sums) for each pair of a frequency, input and output channel."""
    weight = torch.ones(5, CHANNELS, LENGTH // 2 + 1, dtype=torch.complex64)
    frequencies = LENGTH // 2 + 1
    transform = math.floor(CHANNELS * 2.5 * LENGTH * math.log2(LENGTH))
    counted = count(lambda x: torch.einsum("bct,oct->bot", torch.fft.rfft(x), weight), x)
    assert counted == transform + 8 * frequencies * CHANNELS * 5


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("values", [10, 16])
def test_attention(causal, values):
    """2 * heads * queries * keys * (width of keys + width of values), masked or not."""
    heads, queries, keys, width = 4, 7, 7, 10
    q, k = torch.ones(1, heads, queries, width), torch.ones(1, heads, keys, width)
    v = torch.ones(1, heads, keys, values)

    def attend(q):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    assert count(attend, q) == 2 * heads * queries * keys * (width + values)


def test_grouped_query_attention_counts_every_head_of_the_queries():
    """Shared keys and values save memory, not products."""
    q, k = torch.ones(1, 4, 7, 8), torch.ones(1, 2, 7, 8)

    def attend(q):
        return functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    assert count(attend, q) == 2 * 4 * 7 * 7 * (8 + 8)


def test_transformer_layer(x):
    """Projections 2 n (3 d^2 + d^2), attention 4 n^2 d, two layers of 2 n d f."""
    n, d, f = CHANNELS, LENGTH, 32
    layer = nn.TransformerEncoderLayer(d, 2, f, batch_first=True)
    assert count_flops(layer, x) == 2 * n * 4 * d * d + 4 * n * n * d + 2 * 2 * n * d * f
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "free",
    [
        lambda x: functional.gelu(x).clamp(-1, 1).masked_fill(x > 0, 0).pow(2),
        lambda x: x.sin_().mul_(2).transpose_(1, 2),
        lambda x: x.softmax(-1) + x.log_softmax(1) + x.cumsum(-1),
        lambda x: functional.layer_norm(functional.group_norm(x, 1), (LENGTH,)),
        lambda x: functional.rms_norm(x, (LENGTH,)),
        lambda x: functional.batch_norm(x, torch.zeros(CHANNELS), torch.ones(CHANNELS)),
        lambda x: functional.avg_pool1d(x, 2) + functional.max_pool1d(x, 2),
        lambda x: functional.adaptive_avg_pool1d(x, 1) + x.amax(-1, keepdim=True),
        lambda x: functional.dropout(x, 0.5, training=True),
        lambda x: functional.pad(x, (3, 0))[..., 1:].flip(-1).unfold(-1, 3, 1),
        lambda x: functional.embedding(x[0].long().abs(), torch.ones(9, 4)),
        lambda x: x.gather(-1, x.argsort(-1)).topk(3).values.roll(1),
        lambda x: torch.cat([torch.zeros(1), x.flatten(), torch.arange(3), torch.randn(2)]),
        lambda x: torch.outer(x[0, 0], x[0, 1]) * x.std().item(),
        lambda x: functional.interpolate(x, scale_factor=2, mode="linear"),
        lambda x: torch.einsum("bct,bct->bct", x, x),
    ],
)
def test_free_by_convention(x, free):
    """Elementwise work, copies, indexing, reductions, normalisation and pooling count zero."""
    assert count(free, x.clone()) == 0


def test_weight_norm_is_free(x):
    """It scales weights, which is elementwise."""
    network = nn.utils.parametrizations.weight_norm(nn.Conv1d(CHANNELS, 4, 1))
    assert count_flops(network, x) == 2 * LENGTH * CHANNELS * 4


@pytest.mark.parametrize(
    "unknown",
    [
        lambda x: torch.linalg.solve(torch.eye(CHANNELS), x[0]),
        lambda x: torch.cdist(x, x),
        torch.linalg.svdvals,
        lambda x: functional.bilinear(x, x, torch.ones(2, LENGTH, LENGTH)),
    ],
)
def test_an_operator_without_a_formula_gives_none(x, unknown):
    """What else the network does is not reported as if it were all."""
    assert count(lambda x: unknown(x).sum() + functional.conv1d(x, torch.ones(1, 3, 1)), x) is None


@torch.library.custom_op("seqbench_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """An operator that PyTorch knows nothing about."""
    return x @ torch.eye(x.shape[-1]) * 2


@torch.library.custom_op("seqbench_tests::thrice", mutates_args=())
def thrice(x: torch.Tensor) -> torch.Tensor:
    """An operator whose author says what it costs."""
    return x * 3


torch.utils.flop_counter.register_flop_formula(torch.ops.seqbench_tests.thrice)(
    lambda shape, *_, **__: 100 * shape.numel()
)


def test_a_custom_operator_gives_none_until_it_has_a_formula(x):
    """A plugin registers one with PyTorch; it is taken as it stands, complex or not."""
    assert count(twice, x) is None
    assert count(thrice, x) == 100 * x.numel()
    assert count(lambda x: thrice(x.cfloat()), x) == 100 * x.numel()


def test_memory_filled_outside_pytorch_gives_none(x):
    """So does work that no operator shows, as by a Triton kernel or, here, by numpy."""
    import numpy as np

    def outside(x):
        product = torch.empty(CHANNELS, CHANNELS)
        np.matmul(x[0].numpy(), x[0].numpy().T, out=product.numpy())
        return product

    assert count(outside, x) is None
    assert count(lambda x: outside(x) + 1, x) is None


def test_memory_filled_by_operators_is_known(x):
    """Buffers that are allocated and then written cost nothing more."""

    def inside(x):
        out = torch.empty(2, CHANNELS, LENGTH)
        out[0].copy_(x[0])
        torch.mul(x[0], 2, out=out[1])
        return out + torch.empty_like(x).fill_(1) + nn.init.normal_(torch.empty(1))

    assert count(inside, x) == 0


def test_higher_order_operators_give_none(x):
    """Their bodies are not looked into."""

    def branch(x):
        return torch.cond(x.sum() > 0, lambda a: a @ a.mT, lambda a: a @ a.mT, (x,))

    assert count(branch, x) is None


def test_compiled_code_counts_as_what_it_was_compiled_from(x):
    """Compiled code is not looked into, but its source is."""
    layer = nn.Linear(LENGTH, 5)
    compiled = torch.compile(layer, backend="eager")
    compiled(x)
    assert count_flops(compiled, x) == count_flops(layer, x)


def test_kept_kernels_are_counted_as_if_computed_anew(x):
    """A network that keeps its kernel between calls in eval costs the same before and after."""

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = nn.Linear(4, CHANNELS * 5)
            self.kept = None

        def train(self, mode=True):
            self.kept = None
            return super().train(mode)

        def forward(self, x):
            if self.kept is None:
                self.kept = self.generator(torch.ones(4)).reshape(1, CHANNELS, 5)
            return functional.conv1d(x, self.kept)

    network = Keeps().eval()
    expected = 2 * 4 * CHANNELS * 5 + 2 * (LENGTH - 4) * CHANNELS * 5
    assert [count_flops(network, x) for _ in range(2)] == [expected, expected]


def test_counting_leaves_the_network_as_it_was(x):
    """Its mode and its state are those from before."""
    network = nn.Sequential(nn.Conv1d(CHANNELS, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_flops(network.train(), x)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    count_flops(network.eval(), x)
    assert not any(module.training for module in network.modules())
