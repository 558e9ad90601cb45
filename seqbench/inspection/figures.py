"""Figures of an inspection, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seqbench.inspection.field import ReceptiveField
from seqbench.inspection.kernels import LayerKernels
from seqbench.result import Epoch, Learned

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


def learned_figure(
    curve: Sequence[Epoch], start: Learned | None = None, chosen: int | None = None
) -> Figure | None:
    """What the network learned that means something by itself, by layer, over epochs.

    ``start`` is what it was before the first epoch. The chosen epoch is dotted.
    """
    told = [(epoch.epoch, epoch.learned) for epoch in curve if epoch.learned]
    if not told:
        return None
    if start is not None:
        told.insert(0, (0, start))
    epochs = [epoch for epoch, _ in told]
    names = sorted({name for _, learned in told for name in learned})
    figure, axes = _grid(len(names), 4.0, 2.8)
    for axis, name in zip(axes, names, strict=True):
        series = np.array([learned[name] for _, learned in told]).T
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.95, len(series)))
        for layer, (values, colour) in enumerate(zip(series, colours, strict=True)):
            axis.plot(epochs, values, marker=".", c=colour, label=f"layer {layer + 1}")
        if chosen is not None:
            axis.axvline(chosen, c="0.3", lw=0.8, ls=":", zorder=0)
        axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    return figure


def kernels_figure(layers: Sequence[LayerKernels]) -> Figure | None:
    """The largest kernels of every layer (on two axes the largest), the mask, and the crop."""
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


def _draw_image(axis: Any, layer: LayerKernels, kernels: np.ndarray) -> None:
    height = np.abs(kernels[0]).max() or 1.0
    axis.imshow(kernels[0][::-1, ::-1], cmap="RdBu_r", vmin=-height, vmax=height)
    axis.set_axis_off()
    if layer.mask is not None:
        mask = np.outer(*(along[::-1] for along in layer.mask))
        if mask.min() < mask.max() / 2:
            axis.contour(mask, [mask.max() / 2], colors="0.4", linewidths=0.8, linestyles="--")
    ends = zip(layer.kept, kernels[0].shape, strict=True)
    (top, rows), (left, columns) = ((taps - end, end - first) for (first, end), taps in ends)
    corner = left - 0.5, top - 0.5
    axis.add_patch(Rectangle(corner, columns, rows, fill=False, ec="0.2", lw=0.8, ls=":"))
    _zoom(axis, kernels[0].shape, (top, rows), (left, columns))


def _zoom(
    axis: Any, shape: tuple[int, ...], vertical: tuple[int, int], horizontal: tuple[int, int]
) -> None:
    """Show what is kept of a kernel, given as first and length along each axis, and around it."""
    margin = max(2, max(vertical[1], horizontal[1]) // 2)
    (bottom, top), (left, right) = (
        (max(-0.5, first - margin - 0.5), min(taps - 0.5, first + kept + margin - 0.5))
        for taps, (first, kept) in zip(shape, (vertical, horizontal), strict=True)
    )
    axis.set(xlim=(left, right), ylim=(top, bottom))


def spectra_figure(layers: Sequence[LayerKernels]) -> Figure | None:
    """Magnitudes of the kernels' spectra, their analytic bound, and the Nyquist frequency."""
    if not layers:
        return None
    figure, axes = _grid(len(layers), 4.0, 2.6)
    for axis, layer in zip(axes, layers, strict=True):
        draw = _draw_spectra if len(layer.lags) == 1 else _draw_spectrum_image
        draw(axis, layer, layer.spectra / max(layer.spectra.max(), 1e-30))
        axis.set_title(layer.name, fontsize=9)
    if len(layers[0].lags) == 1:
        axes[0].legend(fontsize=7)
    else:
        figure.colorbar(axes[0].images[0], ax=axes, label="largest of all pairs")
    return figure


def _draw_spectra(axis: Any, layer: LayerKernels, spectra: np.ndarray) -> None:
    for values, label in zip(spectra, ("largest", "mean"), strict=True):
        axis.semilogy(layer.frequencies, values, lw=0.8, label=f"{label} of all pairs")
    axis.axvline(0.5, c="0.3", lw=0.8, ls=":", label="Nyquist frequency")
    if layer.bound is not None:
        axis.axvline(layer.bound[0], c="C3", lw=0.8, ls="--", label="bound")
    axis.set(xlim=(0, _shown(layer)), ylim=(1e-6, 2), xlabel="cycles a step")


def _draw_spectrum_image(axis: Any, layer: LayerKernels, spectra: np.ndarray) -> None:
    end = layer.frequencies[-1]
    axis.imshow(
        np.maximum(spectra[0], 1e-3),
        cmap="Greys",
        norm=LogNorm(1e-3, 1),
        origin="lower",
        extent=(0, end, 0, end),
    )
    axis.add_patch(Rectangle((0, 0), 0.5, 0.5, fill=False, ec="C0", lw=1.2, ls=":"))
    if layer.bound is not None:
        vertical, horizontal = layer.bound
        box = Rectangle((0, 0), horizontal, vertical, fill=False, ec="C3", lw=1, ls="--")
        axis.add_patch(box)
    side = 0, _shown(layer)
    axis.set(xlim=side, ylim=side, xlabel="horizontal, cycles a pixel", ylabel="vertical")


def _shown(layer: LayerKernels) -> float:
    """The highest frequency of a figure."""
    bound = 0.0 if layer.bound is None else max(layer.bound)
    return max(1.0, min(2.0, 1.1 * bound))


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
