"""One run, one direction: spec, data, network, fit, best epoch, test once, Result, one file."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from seqbench.cost import PeakMemory, measure_inference
from seqbench.errors import ConfigError, ModelError, ResultError
from seqbench.flops import count_flops
from seqbench.model import Model, load_model
from seqbench.provenance import now, provenance
from seqbench.resolve import Plan, config_from
from seqbench.result import (
    Cost,
    Data,
    Metric,
    Packed,
    Result,
    Status,
    check_writable,
    read_result,
    result_path,
    score_of,
    write_atomically,
    write_result,
)
from seqbench.spec import RunSpec, TrainSpec
from seqbench.task import FitData, Split, Task, fingerprint, load_task
from seqbench.train import (
    Diverged,
    Fitted,
    Job,
    Progress,
    autocast,
    evaluate,
    fit,
    seed_everything,
    seed_of,
)

RETRIED = (Status.FAILED, Status.OOM, Status.TIMEOUT)
"""How a run may have ended for reasons that lie outside its spec."""


@dataclass(frozen=True)
class Place:
    """Where a run happens and leaves its files; decides nothing about its outcome on one machine.

    ``threads`` are torch's within one operator, never picked by the hardware: the last bits of a
    sum depend on them.
    """

    output_dir: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Bench:
    """A run made ready: everything loaded, seeded and checked, nothing trained or written yet."""

    plan: Plan
    task: Task
    data: FitData
    network: Model
    device: torch.device
    folder: Path
    memory: PeakMemory
    started_at: str = field(default_factory=now)
    started: float = field(default_factory=time.perf_counter)

    @property
    def train_spec(self) -> TrainSpec:
        """How it is trained."""
        if self.plan.spec.train is None:
            raise ConfigError(f"run {self.plan.spec.id} evaluates weights and trains nothing")
        return self.plan.spec.train

    @cached_property
    def job(self) -> Job:
        """What ``fit`` is asked; made once, since it hashes the data."""
        return Job(
            spec=self.train_spec,
            seed=self.plan.spec.seed,
            run_id=self.plan.spec.id,
            device=self.device,
            checkpoint=self.folder / "last.ckpt",
            data_sha256=fingerprint([self.data.train, self.data.val], self.task.constants),
            memory=self.memory,
        )


def run(plan: Plan, place: Place, progress: Progress | None = None) -> Result:
    """Do one run, or continue it, or give the Result that it left when it was done before.

    A run that failed before is done again.

    Raises:
        SeqbenchError: the run cannot be done as asked; no Result is written.

    """
    done = existing(plan.spec, place.output_dir)
    if done is not None and done.status not in RETRIED:
        return done
    bench = prepare(plan, place)
    check_writable(place.output_dir)
    try:
        fitted = fit(bench.network, bench.task, bench.data, bench.job, progress)
    except Diverged as error:
        result = _result(bench, Status.DIVERGED, error=str(error), curve=error.curve)
    else:
        result = _tested(bench, fitted)
        weights = {name: value.contiguous() for name, value in fitted.weights.items()}
        write_atomically(bench.folder / "weights.safetensors", safetensors.torch.save(weights))
    write_result(result, place.output_dir)
    bench.job.checkpoint.unlink(missing_ok=True)
    return result


def run_trial(plan: Plan, place: Place, progress: Progress | None = None) -> Result:
    """Train and validate only, for a search over settings: test data are never loaded.

    The checkpoint stays, so that ``run`` of the same spec goes on from the end of training.

    Raises:
        SeqbenchError: the run cannot be done as asked; no Result is written.

    """
    directory = place.output_dir / "trials"
    if (done := existing(plan.spec, directory)) is not None:
        return done
    bench = prepare(plan, place)
    check_writable(place.output_dir)
    try:
        fitted = fit(bench.network, bench.task, bench.data, bench.job, progress)
    except Diverged as error:
        result = _result(bench, Status.DIVERGED, error=str(error), curve=error.curve)
    else:
        result = _result(bench, Status.TRIAL, **_of_fit(fitted))
    write_result(result, directory)
    return result


def existing(spec: RunSpec, output_dir: Path) -> Result | None:
    """The Result that a run left below ``output_dir``, if it did.

    Raises:
        ResultError: there is a file, but it is damaged.

    """
    path = output_dir / result_path(spec)
    return read_result(path) if path.exists() else None


def prepare(plan: Plan, place: Place) -> Bench:
    """Load, seed and check everything that a run needs before training.

    Raises:
        SeqbenchError: a plugin, the data, the device or the model's output is not as it must be.

    """
    spec = plan.spec
    device = prepare_device(place)
    memory = PeakMemory(device)
    task_class, model_class = load_task(spec.task.name), load_model(spec.model.name)
    _check_version(spec.task.name, spec.task.version, task_class.version)
    _check_version(spec.model.name, spec.model.version, model_class.version)
    task = task_class(config_from(task_class, spec.task.config, "task"), data_dir=place.data_dir)
    data = task.fit_data()
    data = FitData(data.train.to(device), data.val.to(device))
    seed_everything(seed_of(spec.seed, -1))
    config = config_from(model_class, spec.model.config, "model")
    network = model_class(config, task.signature).to(device)
    check_output(network, task, data.val)
    folder = place.output_dir / "checkpoints" / spec.id
    return Bench(plan, task, data, network, device, folder, memory)


def prepare_device(place: Place) -> torch.device:
    """The device, checked to be there, with threads and exact float32 set for the process.

    Raises:
        ConfigError: there is no such device here.

    """
    if place.threads < 1:
        raise ConfigError(f"threads cannot be {place.threads}: expected 1 or more")
    torch.set_num_threads(place.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        device = torch.device(place.device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(f"training on {device.type!r} is not supported")  # noqa: TRY301
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the device {place.device!r} cannot be used: {reason}",
            "use --device cpu, cuda, cuda:N or mps, as this machine and torch build have it",
        ) from error
    return device


@torch.inference_mode()
def check_output(network: Model, task: Task, split: Split) -> None:
    """Try the network on two examples.

    Raises:
        ModelError: what comes out is not of the shape that the signature asks for.

    """
    signature = task.signature
    x = task.encode(split.x[:2])
    network.eval()
    y_hat = network(x)
    steps = signature.shape if signature.target == "step" else ()
    expected = (len(x), signature.out_features, *steps)
    if not isinstance(y_hat, torch.Tensor) or tuple(y_hat.shape) != expected:
        got = tuple(y_hat.shape) if isinstance(y_hat, torch.Tensor) else type(y_hat).__name__
        raise ModelError(
            f"{type(network).__name__}.forward gives {got} for input {tuple(x.shape)}; "
            f"{task.name} expects {expected}",
            "target 'sequence' is answered by (batch, out), 'step' by (batch, out, time)",
        )


def _check_version(name: str, asked: int, installed: int) -> None:
    if asked != installed:
        raise ConfigError(
            f"the spec is of version {asked} of {name!r}; installed is version {installed}",
            "install the distribution that has the version asked for",
        )


def _tested(bench: Bench, fitted: Fitted) -> Result:
    """The one place where test data are loaded: the weights are chosen."""
    spec = bench.train_spec
    bench.network.load_state_dict(fitted.weights)
    test = bench.task.test_data().to(bench.device)
    scores, loss = evaluate(bench.network, bench.task, test, spec.batch_size, spec.precision)
    fields = _of_fit(fitted)
    fields["cost"] = _cost(bench, fitted, test)
    fields["data"] = _data(bench, test)
    if not all(math.isfinite(score) for score in scores):
        return _result(bench, Status.DIVERGED, **fields | {"error": "a test score is not finite"})
    return _result(
        bench,
        Status.OK,
        test=score_of(scores),
        test_loss=loss if math.isfinite(loss) else None,
        test_scores=Packed.pack(scores),
        **fields,
    )


def _of_fit(fitted: Fitted) -> dict[str, Any]:
    return {
        "chosen_epoch": fitted.chosen_epoch,
        "val": score_of(fitted.val_scores),
        "curve": fitted.curve,
    }


def _cost(bench: Bench, fitted: Fitted, test: Split) -> Cost:
    batch = bench.train_spec.batch_size
    x = bench.task.encode(test.x[:batch])
    seconds = sum(point.train_seconds for point in fitted.curve)
    epochs = len(fitted.curve)
    examples = min(epochs * len(bench.data.train), fitted.curve[-1].steps * batch)
    peaks = [peak for peak in (bench.memory.peak_bytes(), fitted.peak_bytes) if peak is not None]
    with autocast(bench.device, bench.train_spec.precision):
        latency, throughput = measure_inference(bench.network, x)
        flops = count_flops(bench.network, x[:1])
    return Cost(
        parameters=parameters_of(bench.network),
        flops=flops,
        train_seconds=seconds,
        examples_per_second=examples / seconds,
        peak_bytes=max(peaks, default=None),
        latency_seconds=latency,
        throughput=throughput,
        throughput_batch=len(x),
    )


def parameters_of(network: Model) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _data(bench: Bench, test: Split | None = None) -> Data:
    data, constants = bench.data, bench.task.constants
    sources = [data.train.source] + ([test.source] if test else [])
    return Data(
        fit_sha256=bench.job.data_sha256,
        test_sha256=fingerprint([test], constants) if test else None,
        source_sha256=data.train.source.sha256,
        test_source_sha256=test.source.sha256 if test else None,
        official=all(source.official for source in sources),
        label=next((source.label for source in sources if source.label), None),
    )


def _result(bench: Bench, status: Status, **fields: Any) -> Result:
    spec = bench.plan.spec
    seconds = time.perf_counter() - bench.started
    basics = {
        "data": _data(bench),
        "cost": Cost(parameters=parameters_of(bench.network), flops=None),
    }
    return Result(
        id=spec.id,
        spec=spec,
        origin=bench.plan.origin,
        status=status,
        metric=Metric(name=bench.task.metric, higher_is_better=bench.task.higher_is_better),
        signature=bench.task.signature,
        provenance=provenance(spec, bench.device, bench.started_at, seconds),
        **basics | fields,
    )


def failure(plan: Plan, place: Place, status: Status, error: str, seconds: float) -> Result:
    """The Result of a run that ended without one of its own."""
    spec = plan.spec
    task = load_task(spec.task.name)
    return Result(
        id=spec.id,
        spec=spec,
        origin=plan.origin,
        status=status,
        error=error,
        metric=Metric(name=task.metric, higher_is_better=task.higher_is_better),
        provenance=provenance(spec, torch.device(place.device), now(), seconds),
    )


def record_failure(plan: Plan, place: Place, status: Status, error: str, seconds: float) -> Result:
    """Write the Result of a run that failed, unless it left one after all."""
    try:
        done = existing(plan.spec, place.output_dir)
    except ResultError:
        done = None
    if done is not None and done.status not in RETRIED:
        return done
    result = failure(plan, place, status, error, seconds)
    write_result(result, place.output_dir)
    return result
