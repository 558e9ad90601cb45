"""An inspection and its files: one HTML page, and each figure as SVG and PNG."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from seqbench.errors import ConfigError, ResultError
from seqbench.inspection import figures
from seqbench.inspection.field import ReceptiveField, receptive_field
from seqbench.inspection.kernels import LayerKernels, kernels_of
from seqbench.resolve import Plan
from seqbench.result import Result, Status, write_atomically
from seqbench.runner import Place, prepare
from seqbench.spec import RunSpec
from seqbench.weights import WeightsFile, load_weights, read_weights


@dataclass(frozen=True)
class Inspection:
    """What there is to see of a run's network."""

    result: Result
    layers: tuple[LayerKernels, ...]
    field: ReceptiveField

    def figures(self) -> dict[str, tuple[str, Figure]]:
        """Title and figure by the name of its file; those that have something to show."""
        made = {
            "learned": ("Learned, over training", figures.learned_figure(self.result.curve)),
            "kernels": ("Kernels", figures.kernels_figure(self.layers)),
            "spectra": ("Spectra of kernels", figures.spectra_figure(self.layers)),
            "field": ("Effective receptive field", figures.field_figure(self.field)),
        }
        return {name: (title, drawn) for name, (title, drawn) in made.items() if drawn}


def inspect(
    result: Result, place: Place, weights: Path | None = None, examples: int = 256
) -> Inspection:
    """Look inside the network of a result.

    Its weights are read from ``weights``, or from where the run left them below the place's output
    directory. The receptive field is of the first examples of the validation split.

    Raises:
        ResultError: the run left no weights.
        SeqbenchError: weights, data or a plugin are not as they must be.

    """
    trained = _trained(result.spec)
    if result.status not in {Status.OK, Status.EVALUATED}:
        raise ResultError(
            f"run {result.id} has the status {result.status.value}: there are no weights of it"
        )
    file = read_weights(weights) if weights else _left(trained, place)
    bench = prepare(Plan(result.spec, result.origin), place)
    load_weights(bench.network, file, trained.task.name)
    network = bench.network.eval()
    field = receptive_field(network, bench.task, bench.data.val, examples)
    return Inspection(result, tuple(kernels_of(network)), field)


def _trained(spec: RunSpec) -> RunSpec:
    """The spec that the weights were trained by: the run's own, or its parent's."""
    while spec.train is None and spec.parent is not None:
        spec = spec.parent
    return spec


def _left(spec: RunSpec, place: Place) -> WeightsFile:
    path = place.output_dir / "checkpoints" / spec.id / "weights.safetensors"
    if not path.exists():
        raise ConfigError(
            f"the weights of run {spec.id} are not at {path}",
            "say where they are by --weights, or do the run again (`seqbench reproduce RESULT`)",
        )
    return read_weights(path)


def write_inspection(inspection: Inspection, folder: Path) -> Path:
    """Write the page and its figures; gives the page.

    Raises:
        OutputError: a file cannot be written.

    """
    with figures.styled():
        drawn = inspection.figures()
        images: dict[str, tuple[str, str]] = {}
        for name, (title, figure) in drawn.items():
            svg = _saved(figure, "svg")
            write_atomically(folder / f"{name}.svg", svg)
            write_atomically(folder / f"{name}.png", _saved(figure, "png"))
            images[name] = title, svg.decode()
    page = folder / "index.html"
    write_atomically(page, _page(inspection, images).encode())
    return page


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; }}
body {{ padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
div.wide {{ overflow-x: auto; }} svg {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .7rem; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }} tr {{ border-bottom: 1px solid #ddd; }}
p.about {{ color: #555; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="about">{about}</p>
{sections}
</body>
</html>
"""


def _page(inspection: Inspection, images: Mapping[str, tuple[str, str]]) -> str:
    result, field = inspection.result, inspection.field
    sections = []
    for name, (title, svg) in images.items():
        sections.append(f"<h2>{html.escape(title)}</h2>")
        sections.append(f'<p class="about">{html.escape(_NOTES[name])}</p>')
        if name == "kernels":
            sections.append(_table(inspection.layers))
        sections.append(f'<div class="wide">{svg[svg.index("<svg") :]}</div>')
    score = f"test {result.metric.name} {result.test.mean:.4f}" if result.test else ""
    about = [f"run {result.id}", f"seed {result.spec.seed}", score]
    half, most = field.steps_for(0.5), field.steps_for(0.95)
    where = "of the last steps" if field.weights.ndim == 1 else "of all pixels"
    about.append(f"{half:,} {where} hold half of the receptive field, {most:,} hold 95%")
    name = f"{result.spec.model.name}:{result.origin.preset} on {result.spec.task.title}"
    return _TEMPLATE.format(
        title=html.escape(name),
        about=html.escape("; ".join(part for part in about if part)),
        sections="\n".join(sections),
    )


_NOTES = {
    "learned": "By layer, at the end of every epoch.",
    "kernels": "Of each layer the kernels with the largest norm, before cropping. Dashed: the "
    "mask, scaled to them. Dotted: where the kernel is cropped.",
    "spectra": "Of kernels sampled four times as densely as their taps. Right of the Nyquist "
    "frequency is what taps cannot carry; the jump of a causal kernel at the current step is part "
    "of it. Bound: the analytic highest frequency, without that jump, Gaussians counted up to two "
    "standard deviations.",
    "field": "Mean magnitude of the gradient of the largest answer with respect to the input, each "
    "example's sum being 1.",
}


def _table(layers: Sequence[LayerKernels]) -> str:
    head = ("layer", "kernels", "taps", "bound, cycles a step", "energy above Nyquist")
    rows = [
        (
            layer.name,
            f"{len(layer.kernels):,}",
            f"{layer.taps:,} of {layer.kernels[0].size:,}",
            "none" if layer.bound is None else ", ".join(f"{f:.3g}" for f in layer.bound),
            "" if layer.aliased is None else f"{layer.aliased:.1e}",
        )
        for layer in layers
    ]
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
