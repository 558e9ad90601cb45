"""The CKCNN keeps the interface's promises and computes what the official network computes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from seqbench_ckconv import CKCNN, CKCNNConfig

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.testing import check_model
from seqbench.weights import load_weights, read_weights

SMNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")


@pytest.mark.parametrize("preset", list(CKCNN.presets))
def test_conforms(preset: str) -> None:
    """Every preset passes the conformance suite."""
    check_model("ckconv", preset)


@pytest.mark.parametrize(
    ("preset", "in_channels", "parameters"),
    [
        ("cktcn-100k", 1, 98_286),
        ("cktcn-100k", 3, 100_386),
        ("cktcn-1m", 1, 1_030_546),
        ("cktcn-1m", 3, 1_037_546),
    ],
)
def test_presets_have_the_official_sizes(preset: str, in_channels: int, parameters: int) -> None:
    """Parameter counts are those of the official code."""
    signature = SMNIST.model_copy(update={"in_channels": in_channels})
    network = CKCNN(CKCNN.presets[preset], signature)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_official_weights_give_the_official_logits(shared_reference: Path, data_dir: Path) -> None:
    """The published sMNIST weights: the official code's logits on 512 real test images."""
    golden = np.load(shared_reference / "ckconv_smnist_100k_logits.npz")
    network = CKCNN(CKCNNConfig(omega_0=float(golden["omega_0"])), SMNIST).eval()
    file = read_weights(shared_reference / "ckconv_smnist_100k_official.safetensors")
    load_weights(network, file, "smnist")
    table = pq.read_table(next((data_dir / "mnist").glob("test-*.parquet")))
    images = table["image"].slice(0, 512).to_pylist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in images])
    x = torch.from_numpy((pixels.reshape(512, 1, 784) / 255 - 0.1307) / 0.3081).float()
    np.testing.assert_allclose(x[:2], golden["x_first"], atol=1e-6)
    with torch.inference_mode():
        logits = network(x).numpy()
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4 * np.abs(golden["logits"]).max())
    assert (logits.argmax(1) == golden["labels"]).mean() > 0.98


def test_weight_dropout_acts_in_training_alone() -> None:
    """In eval the kernel is whole; in training it is thinned and scaled, the same on average."""
    torch.manual_seed(0)
    signature = SMNIST.model_copy(update={"shape": (20,)})
    network = CKCNN(CKCNNConfig(channels=4, weight_dropout=0.5, dropout=0.0), signature)
    layer, x = network.blocks[0].conv1, torch.randn(2, 1, 20)
    whole = layer.eval()(x)
    thinned = torch.stack([layer.train()(x) for _ in range(400)])
    assert not torch.allclose(thinned[0], whole)
    error = (thinned.mean(0) - whole).abs() / (thinned.std(0) / 400**0.5)
    assert error.max() < 5


def test_kernel_decay_adds_the_norms_of_kernels_and_biases() -> None:
    """The penalty is kernel_decay times the sum over layers; zero without it."""
    torch.manual_seed(0)
    network = CKCNN(CKCNNConfig(channels=4, kernel_decay=0.5), SMNIST)
    layers = [conv for block in network.blocks for conv in (block.conv1, block.conv2)]
    norms = sum(layer.sampled_kernel(784).norm() for layer in layers)
    torch.testing.assert_close(network.penalty(), 0.5 * norms)
    assert CKCNN(CKCNNConfig(), SMNIST).penalty() == 0


@pytest.mark.parametrize("wrong", [{"omega_0": 0.0}, {"dropout_in": 1.0}, {"kernel_decay": -1.0}])
def test_refuses_what_cannot_be(wrong: dict[str, float]) -> None:
    """A value out of range is refused, naming the field."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CKCNNConfig(**wrong)
