"""Weights of the authors' code, converted, make the network that they were trained in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seqbench_ckconv import CKCNN, CKCNNConfig
from torch import Tensor
from torch.nn import functional

from seqbench import cli
from seqbench.errors import ConfigError, ModelError
from seqbench.result import Status, Weights, read_results
from seqbench.spec import Signature
from seqbench.weights import load_weights, read_weights

State = dict[str, Tensor]


def signature_of(in_channels: int = 1, length: int = 784, **fields: Any) -> Signature:
    """What a task of classification into ten asks."""
    values = {"out_features": 10, "target": "sequence"} | fields
    return Signature(in_channels=in_channels, shape=(length,), **values)


def official_state(in_channels: int = 1, config: CKCNNConfig = CKCNNConfig()) -> State:  # noqa: B008
    """Random weights under the names and in the shapes of the authors' code."""
    torch.manual_seed(0)
    hidden, channels = config.kernel_channels, config.channels
    state = {"finallyr.weight": torch.randn(10, channels), "finallyr.bias": torch.randn(10)}

    def convolution(name: str, c_in: int) -> None:
        widths = [(0, 1, hidden), (4, hidden, hidden), (8, hidden, c_in * channels)]
        for index, before, after in widths:
            layer = f"{name}.Kernel.kernel_net.{index}"
            state[f"{layer}.bias"] = torch.rand(after) * 2 - 1
            state[f"{layer}.weight_g"] = torch.rand(after, 1, 1) / before
            state[f"{layer}.weight_v"] = torch.randn(after, before, 1)
        state[f"{name}.bias"] = torch.randn(channels)

    for block in range(config.blocks):
        name, c_in = f"backbone.{block}", channels if block else in_channels
        convolution(f"{name}.cconv1", c_in)
        convolution(f"{name}.cconv2", channels)
        for norm in ("norm1", "norm2"):
            state[f"{name}.{norm}.layer_norm.weight"] = 1 + torch.randn(channels) / 9
            state[f"{name}.{norm}.layer_norm.bias"] = torch.randn(channels) / 9
        if c_in != channels:
            state[f"{name}.shortcut.0.weight"] = torch.randn(channels, c_in, 1)
            state[f"{name}.shortcut.0.bias"] = torch.randn(channels)
    return state


def plainly(state: State, config: CKCNNConfig, x: Tensor) -> Tensor:
    """The authors' network by its formulas, from the formed kernels, in double precision."""
    state = {name: value.double() for name, value in state.items()}
    positions = torch.linspace(-1, 1, x.shape[-1], dtype=torch.float64)

    def convolved(name: str, y: Tensor) -> Tensor:
        h = positions[None]
        for index in (0, 4, 8):
            layer = f"{name}.Kernel.kernel_net.{index}"
            gain, direction = state[f"{layer}.weight_g"], state[f"{layer}.weight_v"]
            weight = gain[..., 0] * functional.normalize(direction[..., 0], dim=1)
            h = weight @ h + state[f"{layer}.bias"][:, None]
            h = h if index == 8 else torch.sin(config.omega_0 * h)
        kernel = h.reshape(-1, y.shape[1], y.shape[2])
        padded = functional.pad(y, (y.shape[2] - 1, 0))
        return functional.conv1d(padded, kernel, state[f"{name}.bias"])

    y = x.double()
    for block in range(config.blocks):
        before = y
        for i in (1, 2):
            norm = f"backbone.{block}.norm{i}.layer_norm"
            y = convolved(f"backbone.{block}.cconv{i}", y)
            y = functional.group_norm(
                y, 1, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-12
            ).relu()
        if (shortcut := f"backbone.{block}.shortcut.0.weight") in state:
            bias = state[shortcut.replace("weight", "bias")]
            before = functional.conv1d(before, state[shortcut], bias)
        y = (y + before).relu()
    return functional.linear(y[..., -1], state["finallyr.weight"], state["finallyr.bias"])


def loaded(state: State, folder: Path, network: CKCNN, task: str = "smnist") -> Weights:
    """What is known of the weights once they went through a file into the network."""
    torch.save(state, folder / "w.pt")
    return load_weights(network, read_weights(folder / "w.pt"), task)


@pytest.mark.parametrize(
    ("in_channels", "length", "config"),
    [
        (1, 97, CKCNN.presets["cktcn-100k"]),
        (3, 64, CKCNN.presets["cktcn-100k"]),
        (1, 50, CKCNN.presets["cktcn-1m"]),
        (3, 33, CKCNN.presets["cktcn-1m"]),
        (20, 161, CKCNNConfig(omega_0=30.9)),
        (5, 40, CKCNNConfig(channels=5, blocks=3, kernel_channels=7, omega_0=9.0)),
    ],
)
def test_converted_weights_compute_what_the_formulas_do(
    in_channels: int, length: int, config: CKCNNConfig, tmp_path: Path
) -> None:
    """Of any number of channels and blocks; also where no shortcut is needed."""
    state = official_state(in_channels, config)
    network = CKCNN(config, signature_of(in_channels, length)).eval()
    loaded(state, tmp_path, network)
    x = torch.randn(4, in_channels, length)
    with torch.inference_mode():
        y = network(x)
    expected = plainly(state, config, x)
    assert (y - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_buffers_of_the_authors_are_left_out(prefix: str, tmp_path: Path) -> None:
    """The length of training, if it is the task's or was never set, and sampled kernels."""
    network = CKCNN(CKCNNConfig(), signature_of(length=784))
    state = official_state()
    for name, length in (("0.cconv1", 784), ("0.cconv2", 0)):
        state[f"backbone.{name}.train_length"] = torch.tensor([length], dtype=torch.int32)
    state["backbone.0.cconv1.conv_kernel"] = torch.zeros(30, 1, 784)
    state["backbone.0.cconv2.conv_kernel"] = torch.zeros(30)
    loaded({prefix + name: value for name, value in state.items()}, tmp_path, network)
    assert torch.equal(network.head.linear.weight, state["finallyr.weight"])


@pytest.mark.parametrize(
    ("buffer", "value"),
    [("train_length", torch.tensor([8000])), ("conv_kernel", torch.zeros(30, 1, 8000))],
)
def test_weights_of_another_length_are_refused(buffer: str, value: Tensor, tmp_path: Path) -> None:
    """They fit, but a position in the kernel would be another distance."""
    state = official_state() | {f"backbone.0.cconv1.{buffer}": value}
    network = CKCNN(CKCNNConfig(), signature_of(length=16000))
    with pytest.raises(ConfigError, match="sequences of 8000 steps; those of sc10-raw have 16000"):
        loaded(state, tmp_path, network, "sc10-raw")


def test_weights_for_answers_at_every_step_are_refused(tmp_path: Path) -> None:
    """There the norm is another, though its weights are of the same shape."""
    network = CKCNN(CKCNNConfig(), signature_of(target="step"))
    with pytest.raises(ConfigError, match="at every step"):
        loaded(official_state(), tmp_path, network)


@pytest.mark.parametrize(
    ("state", "part"),
    [
        (official_state(1, CKCNNConfig(channels=100)), r"blocks.0.conv1.bias \(100,\) instead of"),
        (official_state(3), r"output.bias \(90,\) instead of \(30,\)"),
        (official_state(1, CKCNNConfig(blocks=3)), "unexpected: blocks.2"),
        (official_state(1, CKCNNConfig(blocks=1)), "missing: blocks.1"),
        (
            official_state() | {"backbone.0.cconv1.Kernel.kernel_net.2.weight": torch.ones(32)},
            "unexpected: blocks.0.conv1.Kernel.kernel_net.2.weight",
        ),
    ],
    ids=["1M", "3 channels", "more blocks", "fewer blocks", "another kernel network"],
)
def test_weights_of_another_network_do_not_fit(state: State, part: str, tmp_path: Path) -> None:
    """What is wrong is said in the network's own names."""
    network = CKCNN(CKCNNConfig(), signature_of())
    with pytest.raises(ModelError, match=part):
        loaded(state, tmp_path, network)


@pytest.mark.parametrize(
    ("task", "selection"),
    [
        ("smnist", "test"),
        ("pmnist", "test"),
        ("scifar10", "test"),
        ("sc10-raw", "unknown"),
        ("sdigits", "unknown"),
    ],
)
def test_selection_is_said_as_far_as_it_is_known(task: str, selection: str, tmp_path: Path) -> None:
    """On test where the authors validate on the test set."""
    weights = loaded(official_state(), tmp_path, CKCNN(CKCNNConfig(), signature_of()), task)
    assert (weights.source, weights.selection) == ("dwromero/ckconv", selection)


def test_official_weights_give_the_official_score(
    shared_reference: Path, data_dir: Path, tmp_path: Path
) -> None:
    """99.31% of the MNIST test images, to the image, by one command."""
    weights = shared_reference / "ckconv_smnist_100k_official.safetensors"
    command = ["evaluate", "smnist", "ckconv:cktcn-100k", "--weights", str(weights)]
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--data-dir", str(data_dir), "--output-dir", str(tmp_path)])
    assert not stop.value.code
    (result,), _ = read_results(tmp_path)
    assert result.test is not None
    assert (result.test.mean, result.test.n) == (0.9931, 10_000)
    assert result.test_loss == pytest.approx(0.02515, abs=5e-6)
    assert result.status is Status.EVALUATED
    assert result.origin.settings == "published"
    assert result.origin.weights is not None
    assert result.origin.weights.selection == "test"
