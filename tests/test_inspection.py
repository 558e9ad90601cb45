"""Inspection shows what is in a network, and what its answers depend on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import seqbench
from seqbench import cli
from seqbench.errors import ConfigError, ResultError
from seqbench.inspection import (
    LayerKernels,
    figures,
    inspect,
    kernels_of,
    receptive_field,
    write_inspection,
)
from seqbench.inspection.field import ReceptiveField
from seqbench.model import Model
from seqbench.nn.continuous import KernelConvolution, at_rate
from seqbench.nn.kernels import MAGNet, Siren
from seqbench.resolve import resolve
from seqbench.result import Epoch, Status
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.task import load_task

EPOCH = {
    "steps": 10,
    "learning_rate": 1e-3,
    "train_loss": 1.0,
    "val_loss": 1.0,
    "val_score": 0.5,
    "train_seconds": 1.0,
}
"""What an epoch has beside what was learned."""


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


def test_kernels_of_a_network_on_another_device(monkeypatch):
    """They are those of a copy on the CPU; the network stays where it is, here on ``meta``."""
    network = nn.Sequential(convolution(MAGNet(8, 6, input_scale=3.0, dim=2), (9, 7), causal=False))
    (expected,) = kernels_of(network)
    elsewhere = copy.deepcopy(network).to("meta")

    def cpu(module):
        module.to_empty(device="cpu")
        module.load_state_dict(network[0].state_dict())
        return module

    monkeypatch.setattr(nn.Module, "cpu", cpu)
    (found,) = kernels_of(elsewhere)
    np.testing.assert_array_equal(found.kernels, expected.kernels)
    np.testing.assert_array_equal(found.spectra, expected.spectra)
    assert {value.device.type for value in elsewhere.parameters()} == {"meta"}


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


def test_spectra_of_images_are_on_both_axes():
    """By frequency along each, the larger of both signs; with the share that taps cannot carry."""
    layer = convolution(MAGNet(8, 6, input_scale=3.0, dim=2), (61, 41), causal=False)
    (found,) = kernels_of(layer)
    kernels = layer.sampled_kernel(61, 41).flatten(0, 1).detach().numpy()
    assert found.kernels.shape == (6, 61, 41)
    points = 2 * (len(found.frequencies) - 1) // 4
    taps = np.abs(np.fft.fft2(kernels, s=(points, points)))
    largest = np.maximum(taps, taps[:, -np.arange(points) % points]).max(0)
    expected = largest[:4, :4]
    np.testing.assert_allclose(found.spectra[0][:4, :4], expected, atol=0.1 * expected.max())
    assert found.spectra.shape == (2, len(found.frequencies), len(found.frequencies))


def test_energy_that_taps_cannot_carry_is_that_beyond_half_a_cycle():
    """Along any axis; a wave of 0.7 cycles a pixel is almost all of it, one of 0.2 almost none."""
    share = {}
    for cycles in (0.2, 0.7):
        net = MAGNet(2, 1, layers=1, dim=2)
        with torch.no_grad():
            for one in net.filters:
                one.gamma.fill_(3.0)
                one.mu.zero_()
                one.linear.weight.zero_()
                one.linear.bias.fill_(torch.pi / 2)
            net.filters[0].linear.weight[:, 1] = 2 * torch.pi * cycles * 40 / 2
            net.linear[0].weight.zero_()
            net.linear[0].weight.fill_diagonal_(1.0)
            net.linear[0].bias.zero_()
            net.output.weight.fill_(1.0)
            net.output.bias.zero_()
        layer = KernelConvolution(net, (1, 1), (41, 41), causal=False)
        (found,) = kernels_of(layer)
        share[cycles] = found.aliased
        across = found.spectra[0][0]
        assert found.frequencies[across.argmax()] == pytest.approx(cycles, abs=0.03)
    assert share[0.2] < 1e-3
    assert share[0.7] > 0.999


def image_kernels(**changes):
    """What is known of a convolution of images, made up."""
    made = {
        "name": "conv",
        "kernels": np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32),
        "lags": (np.arange(-2.0, 3.0), np.arange(-3.0, 4.0)),
        "mask": (np.exp(-(np.arange(-2.0, 3.0) ** 2)), np.exp(-(np.arange(-3.0, 4.0) ** 2))),
        "kept": ((1, 4), (2, 6)),
        "bound": (0.3, 1.4),
        "frequencies": np.linspace(0, 2, 9),
        "spectra": np.ones((2, 9, 9)),
        "aliased": 0.1,
    }
    return LayerKernels(**(made | changes))


def test_masks_and_crops_of_images_are_drawn():
    """As the image lies: the newest tap, which looks furthest right and down, is there."""
    axis = figures.kernels_figure([image_kernels()]).axes[0]
    (crop,) = axis.patches
    assert (crop.get_x(), crop.get_y()) == (0.5, 0.5)
    assert (crop.get_width(), crop.get_height()) == (4, 3)
    assert len(axis.collections) == 1
    flat = image_kernels(mask=(np.ones(5), np.ones(7)))
    assert not figures.kernels_figure([flat]).axes[0].collections


def test_bounds_of_images_are_drawn_along_both_axes():
    """Beside the Nyquist frequency; the figure reaches to the higher bound."""
    axis = figures.spectra_figure([image_kernels()]).axes[0]
    nyquist, bound = axis.patches
    assert (nyquist.get_width(), nyquist.get_height()) == (0.5, 0.5)
    assert (bound.get_width(), bound.get_height()) == (1.4, 0.3)
    assert axis.get_xlim() == pytest.approx((0, 1.54))
    assert len(figures.spectra_figure([image_kernels(bound=None)]).axes[0].patches) == 1


def test_one_epoch_is_seen():
    """From what was there before it, and as a point where that is not known."""
    epoch = Epoch(epoch=1, learned={"size": (5.0, 9.0)}, **EPOCH)
    axis = figures.learned_figure([epoch], {"size": (3.0, 3.0)}, chosen=1).axes[0]
    first, second, chosen = axis.lines
    assert list(first.get_xdata()) == [0, 1]
    assert list(first.get_ydata()) == [3.0, 5.0]
    assert list(second.get_ydata()) == [3.0, 9.0]
    assert list(chosen.get_xdata()) == [1, 1]
    (alone, _) = figures.learned_figure([epoch]).axes[0].lines
    assert alone.get_marker() == "."
    assert figures.learned_figure([Epoch(epoch=1, **EPOCH)], {"size": (3.0, 3.0)}) is None


def test_a_field_of_nothing_is_held_by_all_steps():
    """Not by one more than there are."""
    assert ReceptiveField(np.zeros(7), 1).steps_for(0.5) == 7


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
    left = f"reproduced/checkpoints/{result.id}/weights.safetensors"
    assert f"`seqbench reproduce RESULT` leaves them at {left}" in refused.value.hint
    inspect(result, Place(tmp_path), moved, examples=5)
    spec = result.spec.model_copy(update={"train": None, "weights_sha256": "ab" * 32})
    with pytest.raises(ConfigError, match="are not at") as refused:
        inspect(result.model_copy(update={"spec": spec}), Place(tmp_path))
    assert refused.value.hint == "say where they are by --weights"


def test_weights_of_another_run_are_refused(tmp_path, result):
    """They have the same shapes, and would be shown as this run's."""
    other = seqbench.run("tiny-sum", "tiny-mlp", epochs=1, seed=1, output_dir=tmp_path)
    weights = tmp_path / "checkpoints" / other.id / "weights.safetensors"
    with pytest.raises(ConfigError, match=f"those of run {other.id}, not of run {result.id}"):
        inspect(result, Place(tmp_path), weights)


def test_a_test_of_other_weights_names_where_they_are_from(tmp_path):
    """The run that trained them, and its task."""
    trained = Request("tiny-wave", "tiny-rated", settings={"train.epochs": 1})
    child = Request("tiny-wave", "tiny-rated", {"rate": 0.5}, parent=trained, trained=False)
    retest = run(resolve(child), Place(tmp_path))
    page = write_inspection(inspect(retest, Place(tmp_path), examples=5), tmp_path / "page")
    parent = retest.spec.parent
    expected = f"the weights of run {parent.id}, trained on {parent.task.title};"
    assert expected in page.read_text()


def test_a_run_that_failed_has_nothing_to_show(tmp_path, result):
    """There are no weights."""
    failed = result.model_copy(update={"status": Status.DIVERGED})
    with pytest.raises(ResultError, match="has the status diverged"):
        inspect(failed, Place(tmp_path))
