"""The recurrent networks keep the interface's promises and the sizes they are named for."""

from __future__ import annotations

import pytest
import torch
from seqbench_rnn import GRU, LSTM, RNN, LSTMConfig, RecurrentConfig

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.testing import check_model

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_conforms(name: str) -> None:
    """The registered model passes the conformance suite."""
    check_model(name)


@pytest.mark.parametrize(
    ("config", "cls"),
    [(LSTMConfig(16, 3), LSTM), (RecurrentConfig(16, 2), GRU), (RecurrentConfig(16, 2), RNN)],
)
def test_layers_stack(config: RecurrentConfig, cls: type) -> None:
    """More layers conform as well."""

    class Deep(cls):  # type: ignore[misc]
        presets = {"deep": config}
        recipes = {}
        parameter_counts = {}

    check_model(Deep)


@pytest.mark.parametrize(
    ("cls", "preset", "parameters"),
    [(LSTM, "70k", 70_470), (LSTM, "267k", 267_786), (GRU, "201k", 201_482)],
)
def test_presets_have_the_published_sizes(cls: type, preset: str, parameters: int) -> None:
    """70k is Bai et al.'s, 267k and 201k are the sizes in the wRNN paper's table 2."""
    network = cls(cls.presets[preset], SMNIST)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_vanilla_rnn_is_its_formula() -> None:
    """h_t = tanh(W x_t + U h_(t-1) + b), read out linearly at every step."""
    network = RNN(RecurrentConfig(hidden_size=5), SMNIST.model_copy(update={"target": "step"}))
    x = torch.randn(2, 1, 9)
    cell = network.recurrent
    h, outputs = torch.zeros(2, 5), []
    for t in range(9):
        drive = x[..., t] @ cell.weight_ih_l0.T + cell.bias_ih_l0
        h = torch.tanh(drive + h @ cell.weight_hh_l0.T + cell.bias_hh_l0)
        outputs.append(network.head.linear(h))
    torch.testing.assert_close(network(x), torch.stack(outputs, dim=-1))


def test_forget_gates_start_open() -> None:
    """The sum of the two forget-gate biases of every layer is ``forget_bias``."""
    network = LSTM(LSTMConfig(hidden_size=6, layers=2, forget_bias=10.0), SMNIST)
    for layer in range(2):
        biases = network.recurrent.__getattr__(f"bias_ih_l{layer}") + network.recurrent.__getattr__(
            f"bias_hh_l{layer}"
        )
        assert (biases.view(4, 6)[1] == 10.0).all()
        assert (biases.view(4, 6)[[0, 2, 3]].abs() < 1.0).all()


@pytest.mark.parametrize("field", ["hidden_size", "layers"])
def test_sizes_must_be_positive(field: str) -> None:
    """A size of zero is refused, naming the field."""
    with pytest.raises(ConfigError, match=field):
        RecurrentConfig(**{field: 0})
