"""Draw the figures of flexconv.md from the code: `pip install matplotlib`, then run this file.

The kernels are those of a FlexTCN-2 as it starts at seed 0, but for the width of its masks.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seqbench_flexconv import FlexConv, FlexConvNet, FlexConvNetConfig

from seqbench.nn.continuous import at_rate
from seqbench.nn.convolution import Window
from seqbench.nn.convolution_cost import DENSE, Channels, expected, ways
from seqbench.spec import Signature

LENGTH = 784
PLAIN, MARKED, FAINT = "#37474f", "#d84315", "#90a4ae"


def main() -> None:
    """Write all figures beside this file."""
    mpl.rcParams.update(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.family": "sans-serif",
            "font.size": 10,
            "legend.frameon": False,
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "seqbench",
        }
    )
    for draw in (kernel, masks, spectrum, rates, cost):
        figure = Figure(figsize=(5.6, 2.6), layout="constrained")
        draw(figure.subplots())
        path = Path(__file__).with_name(f"{draw.__name__}.svg")
        figure.savefig(path, metadata={"Date": None})


def layer(width: float, length: int = LENGTH) -> FlexConv:
    """The second convolution of a fresh network whose masks have this width."""
    torch.manual_seed(0)
    signature = Signature(in_channels=1, shape=(length,), out_features=10, target="sequence")
    network = FlexConvNet(FlexConvNetConfig(mask_width=width), signature)
    convolution = network.blocks[0].conv2
    assert isinstance(convolution, FlexConv)
    return convolution.requires_grad_(requires_grad=False)


def crop(convolution: FlexConv) -> float:
    """The position up to which a causal kernel is kept."""
    return convolution.mask.interval(convolution.threshold)[0][0]


def kernel(axes: Axes) -> None:
    """One kernel of the network, with and without its mask."""
    convolution = layer(width=0.4)
    positions = torch.linspace(1, -1, 300)
    plain = convolution.kernel(positions[:, None])[:, 0]
    mask = convolution.mask(positions)
    scale = plain.abs().max()
    axes.plot(positions, plain / scale, color=FAINT, label="network's output")
    axes.plot(positions, mask, color=PLAIN, ls="--", label="mask")
    axes.plot(positions, plain * mask / scale, color=MARKED, label="kernel: their product")
    mark(axes, crop(convolution), "cropped here")
    in_time(axes)
    axes.set_ylabel("largest output = 1")
    axes.legend(loc="lower left")


def masks(axes: Axes) -> None:
    """Masks of several widths, and how many taps they leave."""
    positions = torch.linspace(1, -1, 150)
    widths = (0.075, 0.15, 0.3, 0.6)
    for width, shade in zip(widths, (1.0, 0.75, 0.5, 0.3), strict=True):
        convolution = layer(width)
        label = f"width {width:g}: {convolution.taps(LENGTH)} taps"
        axes.plot(positions, convolution.mask(positions), color=MARKED, alpha=shade, label=label)
        if (edge := crop(convolution)) > -1:
            axes.plot([edge], [convolution.threshold], "o", color=MARKED, alpha=shade, ms=4)
    axes.axhline(convolution.threshold, color=FAINT, lw=0.8, ls=":")
    axes.text(-1, convolution.threshold + 0.03, "threshold", color=PLAIN)
    in_time(axes)
    axes.set_ylabel("mask")
    axes.legend(loc="upper left")


def spectrum(axes: Axes) -> None:
    """The spectra of all kernels of a layer, its bound, and what taps can carry."""
    convolution = layer(width=0.2)
    step = 1 / 1024
    positions = torch.arange(-7.0, 9.0, step)  # where the mask has faded on both sides
    fine = convolution.kernel(positions[:, None]) * convolution.mask(positions)[:, None]
    amplitude = torch.fft.rfft(fine, dim=0).abs()
    frequency = torch.fft.rfftfreq(len(positions), step)
    shown = frequency <= 105
    level = 20 * torch.log10((amplitude / amplitude.amax(dim=0))[shown]).clamp(min=-160)
    median, highest = level.median(dim=1).values, level.amax(dim=1)
    axes.plot(*thinned(frequency[shown], highest), color=FAINT, label="highest of 900 kernels")
    axes.plot(*thinned(frequency[shown], median), color=MARKED, label="their median")
    axes.set_ylim(-130, 5)
    mark(axes, convolution.highest_frequency().item(), "bound")
    for rate, text in ((1 / 8, "1/8"), (1 / 2, "1/2")):
        where = at_rate(convolution, rate).nyquist_frequency.item()
        mark(axes, where, f"Nyquist,\nrate {text}")
    axes.set_xlabel("frequency, cycles a unit of position")
    axes.set_ylabel("amplitude, dB")
    axes.legend(loc="upper right", bbox_to_anchor=(0.88, 0.75))


def rates(axes: Axes) -> None:
    """The taps of one kernel at two sampling rates."""
    length = 64
    convolution = layer(width=0.6, length=length)
    for rate, colour, style in ((2, FAINT, "o-"), (1, MARKED, "s")):
        taps = at_rate(convolution, rate).sampled_kernel(length * rate)[0, 0]
        steps = np.arange(len(taps)) / rate
        label = f"{len(taps)} taps, rate {rate}"
        axes.plot(-steps, taps, style, color=colour, ms=3, lw=0.8, label=label)
    axes.set_xlabel("steps at rate 1; 0 is the current one")
    axes.set_ylabel("tap")
    axes.legend(loc="upper left")


def cost(axes: Axes) -> None:
    """What a training step is expected to take, by the number of taps."""
    channels = Channels(c_in=30, c_out=30, features=33)
    size, batch = 16_000, 4
    taps = np.unique(np.geomspace(4, size, 60).astype(int))
    told: dict[str, list[float]] = {"directly": [], "by one transform": [], "by blocks": []}
    for count in taps:
        window = Window((int(count),), (0,), (size,))
        direct, whole, *blocks = (
            expected(way, batch, channels, DENSE) / 1e9 for way in ways(window, channels)
        )
        told["directly"].append(direct)
        told["by one transform"].append(whole)
        told["by blocks"].append(min(blocks, default=math.nan))
    for (name, seconds), colour in zip(told.items(), (PLAIN, FAINT, MARKED), strict=True):
        axes.loglog(taps, seconds, color=colour, label=name)
    axes.set_xlabel("taps of the kernel, at 16,000 steps")
    axes.set_ylabel("seconds, expected")
    axes.legend()


def in_time(axes: Axes) -> None:
    """The current step on the right, the past on the left."""
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel("position; 1 is the current step, -1 the oldest")


def mark(axes: Axes, where: float, text: str) -> None:
    """A vertical line that says what it is."""
    axes.axvline(where, color=PLAIN, lw=0.8, ls=":")
    axes.text(where, axes.get_ylim()[1], f" {text}", color=PLAIN, va="top")


def thinned(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The highest point of every few, so that the file stays small."""
    few = len(x) // 300
    count = len(x) // few
    return x[: count * few : few].numpy(), y[: count * few].reshape(count, few).amax(dim=1).numpy()


if __name__ == "__main__":
    main()
