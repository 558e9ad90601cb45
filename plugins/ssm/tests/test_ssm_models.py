"""S4D and LRU keep the interface's promises, and run step by step as they do in parallel."""

from __future__ import annotations

import math

import pytest
import torch
from seqbench_ssm import LRU, S4D, LRUConfig, S4DConfig, State, StateSpace

from seqbench.errors import ConfigError, ModelError
from seqbench.flops import count_flops
from seqbench.nn.convolution import fast_length
from seqbench.spec import Signature
from seqbench.testing import check_model

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")
PRESETS = [("s4d", preset) for preset in S4D.presets] + [("lru", preset) for preset in LRU.presets]

NETWORKS = {
    "s4d": (S4D, S4DConfig(channels=6, layers=2, state_size=8)),
    "s4d prenorm": (S4D, S4DConfig(channels=6, layers=2, state_size=8, prenorm=True)),
    "s4d bilinear": (S4D, S4DConfig(6, 2, 8, discretisation="bilinear", initial="inv")),
    "s4d batch": (S4D, S4DConfig(6, 2, 8, norm="batch", initial="legs", learn_b=True)),
    "lru": (LRU, LRUConfig(channels=6, layers=2, state_size=5)),
    "lru slow": (LRU, LRUConfig(6, 2, 5, r_min=0.9, r_max=0.999, max_phase=0.1)),
    "lru layer": (LRU, LRUConfig(6, 2, 5, norm="layer", prenorm=False, r_min=0.9, r_max=0.999)),
}


def network(name, target="sequence", dtype=torch.float64):
    """A small network in eval mode whose batch norms have seen data."""
    cls, config = NETWORKS[name]
    torch.manual_seed(0)
    signature = Signature(in_channels=2, shape=(24,), out_features=5, target=target)
    made = cls(config, signature).to(dtype).train()
    made(torch.randn(8, 2, 24, dtype=dtype))
    return made.eval()


def stepped(made, x):
    """Outputs step by step, and the last state."""
    state, outputs = made.initial_state(len(x)), []
    for t in range(x.shape[-1]):
        y, state = made.step(x[..., t], state)
        outputs.append(y)
    return torch.stack(outputs, dim=-1), state


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_conforms(name, preset):
    """Every preset passes the conformance suite."""
    check_model(name, preset)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_settings_conform(name):
    """So do other norms, discretisations and initialisations, and a learned B."""
    cls, config = NETWORKS[name]

    class Set(cls):
        presets = {"set": config}
        recipes = {}
        parameter_counts = {}

    check_model(Set)


@pytest.mark.parametrize(
    ("cls", "preset", "parameters"),
    [
        (S4D, "100k", (102_490, 102_658)),
        (S4D, "200k", (201_226, 201_482)),
        (S4D, "mnist", (664_586, 665_098)),
        (LRU, "100k", (101_130, 101_258)),
        (LRU, "1m", (1_058_314, 1_058_826)),
    ],
)
def test_sizes_are_those_of_the_readme(cls, preset, parameters):
    """With 1 and with 3 input channels, and 10 classes."""
    for channels, expected in zip((1, 3), parameters, strict=True):
        signature = SMNIST.model_copy(update={"in_channels": channels})
        made = cls(cls.presets[preset], signature)
        assert sum(p.numel() for p in made.parameters()) == expected


# Step by step


@pytest.mark.parametrize("length", [1, 2, 7, 24, 101])
@pytest.mark.parametrize("target", ["sequence", "step"])
@pytest.mark.parametrize("name", list(NETWORKS))
@torch.inference_mode()
def test_steps_agree_with_the_parallel_mode(name, target, length):
    """After every step the output is that of the whole network on the steps so far."""
    made = network(name, target)
    x = torch.randn(3, 2, length, dtype=torch.float64)
    steps, _ = stepped(made, x)
    if target == "step":
        expected = made(x)
    else:
        expected = torch.stack([made(x[..., : t + 1]) for t in range(length)], dim=-1)
    torch.testing.assert_close(steps, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["s4d:100k", "s4d:100k-inv", "s4d:100k-legs", "lru:100k"])
@torch.inference_mode()
def test_steps_agree_in_single_precision(name):
    """To 1e-4 of the largest output over 501 steps, with networks of the usual size."""
    model, _, preset = name.partition(":")
    cls = {"s4d": S4D, "lru": LRU}[model]
    torch.manual_seed(0)
    made = cls(cls.presets[preset], SMNIST.model_copy(update={"target": "step"})).eval()
    x = torch.randn(2, 1, 501)
    steps, _ = stepped(made, x)
    expected = made(x)
    assert (steps - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ["s4d", "lru"])
@torch.inference_mode()
def test_state_is_of_constant_size(name):
    """A network remembers as many numbers after 40 steps as before the first."""

    def sizes(state: State):
        return [tuple(layer.shape) for layer in state.layers], tuple(state.total.shape)

    made = network(name)
    _, last = stepped(made, torch.randn(3, 2, 40, dtype=torch.float64))
    assert sizes(last) == sizes(made.initial_state(3))
    assert last.steps == 40


def test_steps_are_refused_in_training():
    """Dropout and batch norm in training would make another network of every step."""
    made = network("lru").train()
    with pytest.raises(ModelError, match="training mode"):
        made.step(torch.zeros(1, 2, dtype=torch.float64), made.initial_state(1))


# Training


@pytest.mark.parametrize("name", list(NETWORKS))
def test_recurrences_learn_at_their_own_rate_and_do_not_decay(name):
    """Step, A and a learned B of S4D; lambda, gamma and B of LRU. All else decays."""
    made = network(name)
    others, slow = made.param_groups()
    names = {id(p): n.rpartition(".")[2] for n, p in made.named_parameters()}
    expected = {"nu_log", "theta_log", "gamma_log", "b"}
    if isinstance(made, S4D):
        expected = {"log_dt", "log_decay", "frequency"}
        expected |= {"b"} if made.config.learn_b else set()
    assert {names[id(p)] for p in slow.parameters} == expected
    assert (slow.learning_rate_scale, slow.decay) == (made.config.ssm_learning_rate_scale, False)
    assert (others.learning_rate_scale, others.decay) == (1.0, True)
    assert {"c", "d"} <= {names[id(p)] for p in others.parameters}


@pytest.mark.parametrize("name", ["s4d", "s4d bilinear", "lru"])
@torch.no_grad()
def test_memory_is_the_time_in_which_the_slowest_state_falls_to_1_over_e(name):
    """Told for each layer, in time steps, at the network's sampling rate."""
    made = network(name)
    memory = made.learned()["memory"]
    for steps, block in zip(memory, made.blocks, strict=True):
        factors = block.layer.discretised()[0].exp().abs()
        assert (factors.max() ** steps).item() == pytest.approx(math.exp(-1))
    if name != "s4d bilinear":
        assert made.at_rate(2.0).learned()["memory"] == pytest.approx([2 * m for m in memory])


@pytest.mark.parametrize("name", ["s4d", "lru"])
def test_dropout_takes_whole_channels(name):
    """What is dropped of an example is dropped at every step, and the rest scaled."""
    dropout = network(name).train().blocks[0].dropout
    y = dropout(torch.ones(400, 3, 6))
    assert torch.equal(y[:, :1].expand_as(y), y)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.9]))
    assert (y == 0).float().mean().item() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("name", ["s4d", "lru"])
def test_recurrences_keep_full_precision_under_autocast(name):
    """Layers give what they give without autocast, but for the rounding of their inputs."""
    layer = network(name, dtype=torch.float32).blocks[0].layer
    x = torch.randn(2, 50, 6)
    expected = layer(x.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x.bfloat16()), expected)
        y, _ = layer.step(x[:, 0].bfloat16(), layer.initial_state(2))
    assert y.dtype == torch.float32


# Other sampling rates


@pytest.mark.parametrize("name", list(NETWORKS))
@torch.inference_mode()
def test_at_rate_shares_parameters_and_multiplies(name):
    """Rates multiply, 1 changes nothing, and the network itself stays as it is."""
    made = network(name)
    x = torch.randn(2, 2, 30, dtype=torch.float64)
    expected = made(x)
    twin = made.at_rate(2.0)
    assert all(a is b for a, b in zip(made.parameters(), twin.parameters(), strict=True))
    assert not torch.allclose(twin(x), expected)
    torch.testing.assert_close(twin.at_rate(0.5)(x), expected)
    torch.testing.assert_close(made(x), expected)
    steps, _ = stepped(twin, x)
    torch.testing.assert_close(steps[..., -1], twin(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["s4d", "s4d bilinear", "lru slow"])
@torch.inference_mode()
def test_smooth_signals_get_the_same_answer_at_twice_the_rate(name):
    """Sampled twice as often and read at rate 2, far closer than read as if at rate 1."""
    made = network(name)
    time = torch.linspace(0, 1, 400, dtype=torch.float64)
    signal = torch.stack([(9 * time).sin(), (5 * time).cos()])[None]
    answer = made(signal[..., ::2])
    error = (made.at_rate(2.0)(signal) - answer).abs().max()
    unaware = (made(signal) - answer).abs().max()
    assert error < 0.05 * unaware


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_impossible_rates_are_refused(rate):
    """A sampling rate is a number above 0."""
    with pytest.raises(ConfigError, match="sampling rate"):
        network("s4d").at_rate(rate)


# Cost


SHAPES = [(1, 784, "sequence"), (3, 64, "sequence"), (2, 100, "step")]


def around(channels_in, length, target, channels, layers):
    """FLOPs of encoder, gated linear units and decoder: 2 * steps * inputs * outputs each."""
    read_out = 2 * (length if target == "step" else 1) * channels * 10
    return 2 * length * channels * (channels_in + 2 * layers * channels) + read_out


def counted(cls, config, shape):
    """FLOPs of a network on one example of (channels, length) and a target."""
    channels_in, length, target = shape
    signature = Signature(in_channels=channels_in, shape=(length,), out_features=10, target=target)
    return count_flops(cls(config, signature), torch.zeros(1, channels_in, length))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_of_s4d(shape):
    """Kernels by real products of (blocks x parts) and (parts x block), then three transforms.

    A block of steps is the power of two at or above the root of the length; a state has two
    parts. Real transforms of n points take 2.5 n log2 n.
    """
    channels, layers, states, (channels_in, length, target) = 12, 3, 16, shape
    block = 2 ** math.ceil(math.log2(length) / 2)
    kernel = 2 * channels * math.ceil(length / block) * states * block
    n = fast_length(2 * length - 1)
    transforms = 3 * channels * 2.5 * n * math.log2(n)
    expected = layers * (kernel + transforms)
    expected += around(channels_in, length, target, channels, layers)
    config = S4DConfig(channels, layers, states)
    assert counted(S4D, config, shape) == pytest.approx(expected, rel=0, abs=3 * layers)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flops_of_lru(shape):
    """B x and C h by real products over both parts, and the scan's complex multiply-adds.

    Those cost 8 a state and step, within blocks (but for their first steps) and again from block
    to block (but for the first).
    """
    channels, layers, states, (channels_in, length, target) = 12, 3, 10, shape
    block = 2 ** math.ceil(math.log2(length) / 2)
    blocks = math.ceil(length / block)
    scan = 8 * states * (blocks * (block - 1) + (blocks - 1) * block)
    expected = layers * (2 * 2 * length * channels * 2 * states + scan)
    expected += around(channels_in, length, target, channels, layers)
    assert counted(LRU, LRUConfig(channels, layers, states), shape) == expected


# Settings


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (S4DConfig, {"channels": 0}),
        (S4DConfig, {"state_size": 7}),
        (S4DConfig, {"initial": "random"}),
        (S4DConfig, {"discretisation": "euler"}),
        (S4DConfig, {"step_min": 0.2}),
        (S4DConfig, {"norm": "group"}),
        (S4DConfig, {"dropout": 1.0}),
        (LRUConfig, {"r_min": 1.0}),
        (LRUConfig, {"r_max": 1.1}),
        (LRUConfig, {"max_phase": 0.0}),
        (LRUConfig, {"ssm_learning_rate_scale": 0.0}),
    ],
    ids=str,
)
def test_refuses_what_cannot_be(config, wrong):
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config(**wrong)


def test_layers_are_state_spaces():
    """Both kinds of layer share one interface, which a third can implement."""
    for name in ("s4d", "lru"):
        assert isinstance(network(name).blocks[0].layer, StateSpace)
