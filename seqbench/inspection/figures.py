"""Figures of an inspection, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from seqbench.inspection.field import ReceptiveField
from seqbench.inspection.kernels import LayerKernels
from seqbench.result import Epoch

KERNELS_SHOWN = 5
"""Of each layer: those of the largest norm."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seqbench",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "legend.frameon": False,
}


def styled() -> Any:
    """How all figures look; text stays text in SVG, and the same figure is the same file."""
    return mpl.rc_context(_STYLE)


def learned_figure(curve: Sequence[Epoch]) -> Figure | None:
    """What the network learned that means something by itself, by layer, over epochs."""
    told = [epoch for epoch in curve if epoch.learned]
    names = sorted({name for epoch in told for name in epoch.learned or {}})
    if not names:
        return None
    figure, axes = _grid(len(names), 4.0, 2.8)
    for axis, name in zip(axes, names, strict=True):
        series = np.array([(epoch.learned or {})[name] for epoch in told])
        for layer, values in enumerate(series.T):
            axis.plot([epoch.epoch for epoch in told], values, label=f"layer {layer + 1}")
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
    axes[0].legend()
    return figure


def kernels_figure(layers: Sequence[LayerKernels]) -> Figure | None:
    """The largest kernels of every layer, under their mask; where they are cropped."""
    if not layers:
        return None
    figure, axes = _grid(len(layers), 4.0, 2.6)
    for axis, layer in zip(axes, layers, strict=True):
        norms = np.linalg.norm(layer.kernels.reshape(len(layer.kernels), -1), axis=1)
        largest = np.argsort(-norms)[:KERNELS_SHOWN]
        draw = _draw_lines if len(layer.lags) == 1 else _draw_image
        draw(axis, layer, layer.kernels[largest])
        axis.set_title(f"{layer.name}: {layer.taps:,} taps", fontsize=9)
    return figure


def _draw_lines(axis: Any, layer: LayerKernels, kernels: np.ndarray) -> None:
    (lags,) = layer.lags
    for kernel in kernels:
        axis.plot(lags, kernel, lw=0.8)
    if layer.mask is not None:
        height = np.abs(kernels).max()
        for sign in (1, -1):
            axis.plot(lags, sign * height * layer.mask[0], c="0.6", lw=0.8, ls="--")
    ((first, end),) = layer.kept
    for edge, inner in ((first, 0), (end, len(lags))):
        if edge != inner:
            axis.axvline(lags[min(edge, len(lags) - 1)], c="0.3", lw=0.8, ls=":")
    axis.set_xlabel("steps back")


def _draw_image(axis: Any, _layer: LayerKernels, kernels: np.ndarray) -> None:
    height = np.abs(kernels[0]).max() or 1.0
    axis.imshow(kernels[0][::-1, ::-1], cmap="RdBu_r", vmin=-height, vmax=height)
    axis.set_axis_off()


def spectra_figure(layers: Sequence[LayerKernels]) -> Figure | None:
    """Magnitudes of the kernels' spectra, their analytic bound, and the Nyquist frequency."""
    shown = [layer for layer in layers if layer.spectra is not None]
    if not shown:
        return None
    figure, axes = _grid(len(shown), 4.0, 2.6)
    for axis, layer in zip(axes, shown, strict=True):
        spectra = np.asarray(layer.spectra)
        for values, label in zip(spectra / spectra.max(), ("largest", "mean"), strict=True):
            axis.semilogy(layer.frequencies, values, lw=0.8, label=f"{label} of all pairs")
        axis.axvline(0.5, c="0.3", lw=0.8, ls=":", label="Nyquist frequency")
        end = 1.0
        if layer.bound is not None:
            end = max(end, min(2.0, 1.1 * layer.bound[0]))
            axis.axvline(layer.bound[0], c="C3", lw=0.8, ls="--", label="bound")
        axis.set(xlim=(0, end), ylim=(1e-6, 2), xlabel="cycles a step")
        axis.set_title(layer.name, fontsize=9)
    axes[0].legend(fontsize=7)
    return figure


def field_figure(field: ReceptiveField) -> Figure:
    """The effective receptive field."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    if field.weights.ndim == 2:
        image = axis.imshow(field.weights, cmap="magma")
        figure.colorbar(image)
        axis.set_axis_off()
        return figure
    back = np.arange(len(field.weights))[::-1]
    axis.semilogy(back, np.maximum(field.weights, 1e-12), lw=0.8)
    axis.set(xlabel="steps back", ylabel="share of the gradient")
    for share in (0.5, 0.95):
        axis.axvline(field.steps_for(share), c="0.5", lw=0.8, ls=":")
        axis.annotate(
            f"{share:.0%}",
            (field.steps_for(share), 1),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    return figure


def _grid(count: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    columns = min(count, 2 if count in {2, 4} else 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]
