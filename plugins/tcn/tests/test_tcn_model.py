"""The TCN keeps the interface's promises and is the network of the authors' code."""

from __future__ import annotations

import pytest
import torch
from seqbench_tcn import TCN, TCNConfig

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.testing import check_model

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")


@pytest.mark.parametrize("preset", list(TCN.presets))
def test_conforms(preset: str) -> None:
    """Every preset passes the conformance suite."""
    check_model("tcn", preset)


def test_sees_its_receptive_field_and_no_step_more() -> None:
    """The last output changes with the oldest step of the receptive field, not with one older."""
    torch.manual_seed(0)
    config = TCNConfig(channels=4, levels=3, kernel_size=3, dropout=0.0)
    network = TCN(config, SMNIST).double().eval()
    assert network.receptive_field == 29
    x = torch.randn(1, 1, 40, dtype=torch.float64, requires_grad=True)
    network(x).sum().backward()
    seen = x.grad[0, 0].abs() > 0
    assert seen[-29:].all()
    assert not seen[:-29].any()


def test_starts_as_the_authors_code_does() -> None:
    """Shortcut N(0, 0.01), convolutions torch's default, read-out by preset."""
    torch.manual_seed(0)
    signature = SMNIST.model_copy(update={"in_channels": 64, "out_features": 256})
    network = TCN(TCNConfig(channels=128, levels=2, head_std=0.01), signature)
    assert network.blocks[0].shortcut.weight.std().item() == pytest.approx(0.01, rel=0.05)
    weight = network.blocks[1].conv1.conv.weight
    assert weight.abs().max().item() == pytest.approx((128 * 7) ** -0.5, rel=0.02)
    assert network.head.linear.weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"dropout": 1.0}, {"head_std": -1.0}])
def test_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TCNConfig(**wrong)
