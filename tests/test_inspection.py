"""Inspection shows what is in a network, and what its answers depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seqbench
from seqbench import cli
from seqbench.errors import ConfigError, ResultError
from seqbench.inspection import inspect, kernels_of, receptive_field, write_inspection
from seqbench.inspection.field import ReceptiveField
from seqbench.model import Model
from seqbench.nn.continuous import KernelConvolution, at_rate
from seqbench.nn.kernels import MAGNet, Siren
from seqbench.result import Status
from seqbench.runner import Place
from seqbench.task import load_task


class Linear(Model):
    """Answers are sums of all steps with weights of their own."""

    def __init__(self, config, signature):
        super().__init__(config, signature)
        self.layer = nn.Linear(signature.length, signature.out_features)

    def forward(self, x):
        return self.layer(x[:, 0])


def convolution(kernel=None, size=(33,), **options):
    """A generated convolution of two channels to three."""
    torch.manual_seed(0)
    return KernelConvolution(kernel or MAGNet(8, 6, dim=len(size)), (2, 3), size, **options)


def test_kernels_are_those_that_are_convolved_with():
    """Pair by pair, the newest tap first; a tap looks so many steps back."""
    layer = convolution()
    (found,) = kernels_of(nn.Sequential(layer))
    expected = layer.sampled_kernel(33).flatten(0, 1)
    np.testing.assert_allclose(found.kernels, expected.detach(), rtol=1e-6)
    assert (found.name, found.taps, found.lags[0].tolist()) == ("0", 33, list(range(33)))
    assert found.mask is None


def test_spectra_are_of_the_kernel_between_its_taps_too():
    """Sampled more densely, up to four times the Nyquist frequency; as large as of the taps."""
    layer = convolution(MAGNet(8, 6, input_scale=3.0), (65,), causal=False)
    (found,) = kernels_of(layer)
    taps = torch.fft.rfft(layer.sampled_kernel(65).flatten(0, 1), n=256).abs().amax(0).detach()
    np.testing.assert_allclose(found.frequencies[:10], np.fft.rfftfreq(256)[:10])
    np.testing.assert_allclose(found.spectra[0][:10], taps[:10], atol=0.02 * taps.max().item())
    assert found.frequencies.max() == 2.0


def test_bounds_are_in_cycles_a_step():
    """The same kernel at half the rate has twice as many cycles a step; some networks have none."""
    layer = convolution()
    (whole,), (half,) = kernels_of(layer), kernels_of(at_rate(layer, 0.5))
    assert half.bound[0] == pytest.approx(2 * whole.bound[0])
    assert whole.bound[0] == pytest.approx(
        0.5 * (layer.highest_frequency() / layer.nyquist_frequency).item()
    )
    (siren,) = kernels_of(convolution(Siren(8, 6, 30.0)))
    assert siren.bound is None


def test_kernels_of_images_have_no_spectrum():
    """They are drawn as images."""
    (found,) = kernels_of(convolution(size=(5, 7), causal=False))
    assert found.kernels.shape == (6, 5, 7)
    assert found.spectra is None


def test_the_receptive_field_of_a_linear_network_is_its_weights():
    """Of the answer that is largest, by magnitude."""
    task = load_task("tiny-sum")()
    network = Linear(None, task.signature)
    with torch.no_grad():
        network.layer.bias[1] += 100
    split = task.fit_data().val
    field = receptive_field(network, task, split, examples=50, batch_size=20)
    weights = network.layer.weight[1].detach().abs()
    np.testing.assert_allclose(field.weights, weights / weights.sum(), rtol=1e-5)
    assert field.examples == 50
    assert receptive_field(network, task, split, examples=10**6).examples == 100


def test_shares_count_from_the_last_step():
    """Of images, from the pixels with the largest share."""
    field = ReceptiveField(np.array([0.1, 0.2, 0.3, 0.4]), 1)
    assert [field.steps_for(share) for share in (0.4, 0.5, 0.95)] == [1, 2, 4]
    image = ReceptiveField(np.array([[0.5, 0.1], [0.1, 0.3]]), 1)
    assert [image.steps_for(share) for share in (0.5, 0.8, 0.95)] == [1, 2, 4]


@pytest.fixture
def result(tmp_path):
    """A short run, whose files lie below ``tmp_path``."""
    return seqbench.run("tiny-sum", "tiny-mlp", epochs=1, output_dir=tmp_path)


def test_a_page_is_written_for_any_model(tmp_path, result, capsys, monkeypatch):
    """From the file of its result alone; the same page again for the same result."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", str(tmp_path / result.path), "--examples", "20"])
    assert not ended.value.code
    page = tmp_path / "inspected" / result.id / "index.html"
    assert str(page.relative_to(tmp_path)) in capsys.readouterr().out
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "field.svg", "field.png"}
    first = page.read_bytes()
    write_inspection(inspect(result, Place(tmp_path), examples=20), page.parent)
    assert page.read_bytes() == first


def test_weights_that_are_not_there_are_named(tmp_path, result):
    """With what to do."""
    weights = tmp_path / "checkpoints" / result.id / "weights.safetensors"
    moved = weights.rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ConfigError, match=f"weights of run {result.id} are not at") as refused:
        inspect(result, Place(tmp_path))
    assert "--weights" in refused.value.hint
    inspect(result, Place(tmp_path), moved, examples=5)


def test_a_run_that_failed_has_nothing_to_show(tmp_path, result):
    """There are no weights."""
    failed = result.model_copy(update={"status": Status.DIVERGED})
    with pytest.raises(ResultError, match="has the status diverged"):
        inspect(failed, Place(tmp_path))
