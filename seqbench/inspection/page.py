"""An inspection and its files: one HTML page, and each figure as SVG and PNG."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from seqbench.errors import ConfigError, ResultError
from seqbench.inspection import figures
from seqbench.inspection.field import ReceptiveField, receptive_field
from seqbench.inspection.kernels import LayerKernels, kernels_of
from seqbench.resolve import Plan
from seqbench.result import Learned, Result, Status, write_atomically
from seqbench.runner import Place, prepare
from seqbench.spec import RunSpec
from seqbench.train import learned_by
from seqbench.weights import WeightsFile, load_weights, read_weights


@dataclass(frozen=True)
class Inspection:
    """What there is to see of a run's network; ``start`` is what it told before training."""

    result: Result
    layers: tuple[LayerKernels, ...]
    field: ReceptiveField
    start: Learned | None = None

    def figures(self) -> dict[str, tuple[str, Figure]]:
        """Title and figure by the name of its file; those that have something to show."""
        run = self.result
        learned = figures.learned_figure(run.curve, self.start, run.chosen_epoch)
        made = {
            "learned": ("Learned, over training", learned),
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
    _check_are_of(trained, file)
    bench = prepare(Plan(result.spec, result.origin), place)
    start = learned_by(bench.network) if result.spec.parent is None else None
    load_weights(bench.network, file, trained.task.name)
    network = bench.network.eval()
    field = receptive_field(network, bench.task, bench.data.val, examples)
    return Inspection(result, tuple(kernels_of(network)), field, start)


def _trained(spec: RunSpec) -> RunSpec:
    """The spec that the weights were trained by: the run's own, or its parent's."""
    while spec.train is None and spec.parent is not None:
        spec = spec.parent
    return spec


def _check_are_of(spec: RunSpec, file: WeightsFile) -> None:
    """Weights of another run have the same shapes, and would be shown under this one's name."""
    other = file.weights.run or spec.id
    if other != spec.id and spec.weights_sha256 is None:
        raise ConfigError(
            f"the weights {file.weights.file} are those of run {other}, not of run {spec.id}",
            "give the weights of the run, or the result that belongs to them",
        )
    if spec.weights_sha256 not in {None, file.sha256}:
        raise ConfigError(
            f"the weights {file.weights.file} are not those that run {spec.id} evaluated: their "
            f"SHA-256 begins with {file.sha256[:8]}, expected {spec.weights_sha256[:8]}"
        )


def _left(spec: RunSpec, place: Place) -> WeightsFile:
    below = Path("checkpoints", spec.id, "weights.safetensors")
    path = place.output_dir / below
    if not path.exists():
        hint = "say where they are by --weights"
        if spec.weights_sha256 is None:
            again = f"`seqbench reproduce RESULT` leaves them at {Path('reproduced') / below}"
            hint += f", or do the run again: {again}"
        raise ConfigError(f"the weights of run {spec.id} are not at {path}", hint)
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
    result = inspection.result
    notes = _NOTES | (_IMAGE_NOTES if inspection.field.weights.ndim == 2 else {})
    sections = []
    for name, (title, svg) in images.items():
        sections.append(f"<h2>{html.escape(title)}</h2>")
        sections.append(f'<p class="about">{html.escape(notes[name])}</p>')
        if name == "kernels":
            sections.append(_table(inspection.layers))
        sections.append(f'<div class="wide">{svg[svg.index("<svg") :]}</div>')
    name = f"{result.spec.model.name}:{result.origin.preset} on {result.spec.task.title}"
    return _TEMPLATE.format(
        title=html.escape(name),
        about=html.escape("; ".join(_about(inspection))),
        sections="\n".join(sections),
    )


def _about(inspection: Inspection) -> Iterator[str]:
    result, field = inspection.result, inspection.field
    yield f"run {result.id}"
    yield f"seed {result.spec.seed}"
    trained = _trained(result.spec)
    if trained is not result.spec:
        yield f"the weights of run {trained.id}, trained on {trained.task.title}"
    if result.test:
        yield f"test {result.metric.name} {result.test.mean:.4f}"
    half, most = field.steps_for(0.5), field.steps_for(0.95)
    where = "of the last steps" if field.weights.ndim == 1 else f"of {field.weights.size:,} pixels"
    yield f"{half:,} {where} hold half of the receptive field, {most:,} hold 95%"


_NOTES = {
    "learned": "By layer, before training and at the end of every epoch. Dotted: the chosen epoch, "
    "whose weights all else here is of.",
    "kernels": "Of each layer the kernels with the largest norm, before cropping. Dashed: the "
    "mask, scaled to them. Dotted: where the kernel is cropped.",
    "spectra": "Of kernels sampled four times as densely as their taps. Right of the Nyquist "
    "frequency is what taps cannot carry; the jump of a causal kernel at the current step is part "
    "of it. Bound: the analytic highest frequency, without that jump, Gaussians counted up to two "
    "standard deviations.",
    "field": "Mean magnitude of the gradient of the largest answer with respect to the input, each "
    "example's sum being 1.",
}


_IMAGE_NOTES = {
    "kernels": "Of each layer the kernel with the largest norm, before cropping. Dashed: where the "
    "mask is half of its largest value. Dotted: where the kernel is cropped.",
    "spectra": "Of kernels sampled four times as densely as their taps, by frequency along either "
    "axis. Outside of the dotted square, at the Nyquist frequency, is what taps cannot carry. "
    "Dashed: the analytic highest frequency, where it is within the figure, Gaussians counted up "
    "to two standard deviations.",
}


def _table(layers: Sequence[LayerKernels]) -> str:
    head = ("layer", "kernels", "taps", "bound, cycles a step", "energy above Nyquist")
    rows = [
        (
            layer.name,
            f"{len(layer.kernels):,}",
            f"{layer.taps:,} of {layer.kernels[0].size:,}",
            "none" if layer.bound is None else ", ".join(f"{f:.3g}" for f in layer.bound),
            f"{layer.aliased:.1e}",
        )
        for layer in layers
    ]
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
