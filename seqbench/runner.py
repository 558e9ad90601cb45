"""One run, one direction: spec, data, network, fit, best epoch, test once, Result, one file."""

from __future__ import annotations

import math
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from seqbench.allocator import keep_freed_memory
from seqbench.checkpoint import Checkpoints
from seqbench.cost import PeakMemory, measure_inference
from seqbench.errors import (
    ConfigError,
    DataError,
    ModelError,
    OutputError,
    ResultError,
    SeqbenchError,
)
from seqbench.flops import count_flops
from seqbench.lease import BusyError, LostError
from seqbench.loggers import Logs, check_loggers
from seqbench.model import Adaptable, Model, load_model
from seqbench.provenance import now, provenance
from seqbench.registry import plugin_lines
from seqbench.resolve import Plan, config_from
from seqbench.result import (
    RETRIED,
    Cost,
    Data,
    Metric,
    Packed,
    RateChange,
    Result,
    Status,
    cpu_seconds_of,
    is_full,
    read_result,
    remove_unfinished,
    result_path,
    score_of,
    unwritable,
)
from seqbench.sitting import Sitting, folder_of, sitting
from seqbench.source import changed_since, code_of
from seqbench.spec import RunSpec, TrainSpec
from seqbench.task import FitData, Source, Split, Task, fingerprint, load_task
from seqbench.train import (
    Audience,
    Diverged,
    Fitted,
    Job,
    Progress,
    autocast,
    evaluate,
    fit,
    learned_by,
    seed_everything,
    seed_of,
)
from seqbench.weights import WeightsFile, load_weights, read_weights, save_weights

EVALUATION_BATCH_SIZE = 64
"""Examples a batch where weights are evaluated, so that no training says how many."""

REFUSALS = (ConfigError, DataError, OutputError, ResultError, BusyError, LostError)
"""Why a run may not be done here and now; that says nothing of the run, and leaves no Result."""

_WANT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "_ALLOC_FAILED")
"""Said by PyTorch on a CPU; by CUDA and MPS; by cuBLAS, cuDNN and cuFFT."""

_TRIALS = "trials"
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Place:
    """Where a run happens and leaves its files; decides nothing about its outcome on one machine.

    ``threads`` are torch's within one operator, never picked by the hardware: the last bits of a
    sum depend on them. ``loggers`` are the trackers that are told of its runs too.
    """

    output_dir: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = 1
    loggers: tuple[str, ...] = ()


def batch_size(spec: RunSpec) -> int:
    """Examples that pass the network together, in training and evaluation."""
    return EVALUATION_BATCH_SIZE if spec.train is None else spec.train.examples_at_once


def results_in(place: Place, *, trial: bool) -> Path:
    """Where Results go: those of trials are kept apart."""
    return place.output_dir / _TRIALS if trial else place.output_dir


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
    code: dict[str, str]
    rate_change: RateChange | None = None
    parent_data: Data | None = None
    seat: Sitting | None = None
    logs: Logs | None = None
    started_at: str = field(default_factory=now)
    started: float = field(default_factory=time.perf_counter)

    @property
    def train_spec(self) -> TrainSpec:
        """How it is trained."""
        if self.plan.spec.train is None:
            raise ConfigError(f"run {self.plan.spec.id} evaluates weights and trains nothing")
        return self.plan.spec.train

    @property
    def batch_size(self) -> int:
        """Examples that pass the network together, in training and evaluation."""
        return batch_size(self.plan.spec)

    @property
    def precision(self) -> str:
        """What forward passes are computed in."""
        train = self.plan.spec.train
        return "float32" if train is None else train.precision

    @cached_property
    def fit_sha256(self) -> str:
        """The fingerprint of the data of training and validation; hashed once."""
        return fingerprint([self.data.train, self.data.val], self.task.constants)

    @property
    def job(self) -> Job:
        """What ``fit`` is asked."""
        return Job(
            spec=self.train_spec,
            seed=self.plan.spec.seed,
            device=self.device,
            checkpoints=Checkpoints(self.folder, self.plan.spec.id, self.fit_sha256, self.seat),
            memory=self.memory,
            code=self.code,
        )

    def evaluate(self, split: Split) -> tuple[list[float], float]:
        """The score of every example of a split, and the mean loss."""
        return evaluate(self.network, self.task, split, self.batch_size, self.precision)


@dataclass(frozen=True)
class _Way:
    """How a plan becomes a Result below a directory: made ready, then done."""

    plan: Plan
    place: Place
    directory: Path
    ready: Callable[[], Bench | Result]
    do: Callable[[Bench], Result]

    def there(self) -> Result | None:
        """The Result that stays, if there is one."""
        result = existing(self.plan.spec, self.directory)
        return None if result is None or result.status in RETRIED else result

    def go(self, seat: Sitting, logs: Logs) -> Result:
        """Make ready and do."""
        bench = self.ready()
        if isinstance(bench, Result):
            return bench
        seat.begin(bench.task.metric, str(bench.device))
        logs.begin()
        return self.do(replace(bench, seat=seat, logs=logs))


def _way(plan: Plan, place: Place, progress: Progress | None, *, trial: bool) -> _Way:
    ready, do = (
        (partial(prepare, plan, place), partial(_trial, progress=progress))
        if trial
        else (partial(_ready, plan, place, progress), partial(_run, progress=progress))
    )
    return _Way(plan, place, results_in(place, trial=trial), ready, do)


def run(plan: Plan, place: Place, progress: Progress | None = None) -> Result:
    """Do one run, or continue it, or give the Result that it left when it was done before.

    A run that failed before is done again. A parent whose weights are not below the output
    directory is run before; where it ends badly, so does the run.

    Raises:
        BusyError: another process is doing it, or its parent.
        SeqbenchError: the run cannot be done as asked; no Result is written.

    """
    return _once(_way(plan, place, progress, trial=False), _Way.go)


def run_trial(plan: Plan, place: Place, progress: Progress | None = None) -> Result:
    """Train and validate only, for a search over settings: test data are never loaded.

    The checkpoint stays, so that ``run`` of the same spec goes on from the end of training.

    Raises:
        BusyError: another process is doing it.
        SeqbenchError: the run cannot be done as asked; no Result is written.

    """
    return _once(_way(plan, place, progress, trial=True), _Way.go)


def attempt(
    plan: Plan,
    place: Place,
    progress: Progress | None = None,
    *,
    trial: bool = False,
    refusals: tuple[type[SeqbenchError], ...] = REFUSALS,
) -> Result:
    """``run`` or ``run_trial``, where whatever a plugin raises is a Result too.

    Raises:
        SeqbenchError: one of ``refusals``; no Result is written.

    """
    way = _way(plan, place, progress, trial=trial)
    return _once(way, partial(_guarded, refusals=refusals))


def run_evaluation(plan: Plan, place: Place, file: WeightsFile) -> Result:
    """Validate and test weights that are there, or give the Result of having done so before.

    Raises:
        BusyError: another process is doing it.
        SeqbenchError: it cannot be done as asked, or the weights do not fit; no Result is written.

    """
    if plan.spec.weights_sha256 != file.sha256:
        raise ConfigError(f"run {plan.spec.id} is not of the weights {file.weights.file}")
    ready = partial(_prepare_weights, plan, place, file)
    return _once(_Way(plan, place, place.output_dir, ready, _evaluated), _Way.go)


def _once(way: _Way, go: Callable[[_Way, Sitting, Logs], Result]) -> Result:
    """The Result that is in a directory, or else one made there while nobody else does."""
    spec, output_dir = way.plan.spec, way.place.output_dir
    if done := way.there():
        return done
    check_loggers(way.place.loggers)
    with (
        sitting(output_dir, spec, way.plan.origin) as seat,
        closing(Logs(way.place.loggers, spec, output_dir, seat.log)) as logs,
    ):
        if done := way.there():  # another process has made it meanwhile
            return done
        path = way.directory / result_path(spec)
        remove_unfinished(path.parent, path.name)
        result = seat.leave(go(way, seat, logs), way.directory)
        logs.end(result)
        if result.status is not Status.TRIAL and result.status not in RETRIED:
            Checkpoints(folder_of(output_dir, spec.id), spec.id, "").clear()
        return result


def _guarded(
    way: _Way, seat: Sitting, logs: Logs, refusals: tuple[type[SeqbenchError], ...]
) -> Result:
    """Go, and make of whatever goes wrong with the run its Result."""
    started = time.monotonic()
    try:
        return way.go(seat, logs)
    except refusals:
        raise
    except Exception as error:  # whatever a plugin raises must not lose the other runs
        if isinstance(error, OSError) and is_full(error):
            raise unwritable(way.place.output_dir, error) from error
        if not isinstance(error, SeqbenchError):
            traceback.print_exc()  # in a suite it goes to run.log
        status = Status.OOM if _is_for_want_of_memory(error) else Status.FAILED
        seconds = time.monotonic() - started
        return failure(way.plan, way.place, status, describe(error), seconds)


def _is_for_want_of_memory(error: Exception) -> bool:
    """PyTorch has an error of its own for that on GPUs alone, and only for its own allocator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WANT_OF_MEMORY)


def describe(error: BaseException) -> str:
    """An error in a few lines: type, message, where it was raised, and from where in a plugin."""
    if isinstance(error, SeqbenchError):
        return str(error)
    raised = traceback.extract_tb(error.__traceback__)[-1]
    lines = [raised, *(line for line in plugin_lines(error)[-1:] if line != raised)]
    places = [f"{Path(line.filename).name}:{line.lineno}, in {line.name}" for line in lines]
    return f"{type(error).__name__}: {error} ({', called by '.join(places)})"


def _ready(plan: Plan, place: Place, progress: Progress | None) -> Bench | Result:
    """The run made ready, with its parent's weights; or its Result if the parent ended badly."""
    parent = plan.parent
    if parent is None:
        return prepare(plan, place)
    if not _weights_path(parent.spec, place).exists():
        prepare(plan, place)  # what cannot be done is said before the parent is run
    file = _weights_of(parent, place, progress)
    if isinstance(file, Result):
        return orphaned(plan, place, file)
    bench = prepare(plan, place)
    load_weights(bench.network, file, parent.spec.task.name)
    done = existing(parent.spec, place.output_dir)
    if done and (changed := changed_since(done)):
        warnings.warn(
            f"the weights of {done.id} were trained by other code of {', '.join(changed)} than "
            "there is now",
            stacklevel=2,
        )
    return replace(bench, parent_data=done.data if done else None)


def _weights_of(plan: Plan, place: Place, progress: Progress | None) -> WeightsFile | Result:
    """The weights that a run has chosen, run for them where they are not there yet."""
    path = _weights_path(plan.spec, place)
    if path.exists():
        file = _own_weights(path, plan)
        if existing(plan.spec, place.output_dir):
            return file
    result = run(plan, place, progress)
    if result.status is not Status.OK:
        return result
    if not path.exists():  # its Result was kept without them: train again, and test nothing
        with sitting(place.output_dir, plan.spec, plan.origin) as seat:
            if bad := _trained_again(plan, place, progress, seat):
                return bad
    return _own_weights(path, plan)


def _own_weights(path: Path, plan: Plan) -> WeightsFile:
    file = read_weights(path)
    if file.weights.run != plan.spec.id:
        raise ConfigError(
            f"{path} holds no weights of run {plan.spec.id}", "delete it and the run is done again"
        )
    return file


def _trained_again(
    plan: Plan, place: Place, progress: Progress | None, seat: Sitting
) -> Result | None:
    """Write the weights that a run has chosen; gives the Result of one that does not get there."""
    path = _weights_path(plan.spec, place)
    if path.exists():  # another process has written them meanwhile
        return None
    bench = _ready(plan, place, progress)
    if isinstance(bench, Result):
        return bench
    seat.begin(bench.task.metric, str(bench.device))
    bench = replace(bench, seat=seat)
    fitted = _fit(bench, progress)
    if isinstance(fitted, Result):
        return fitted
    save_weights(path, fitted.weights, plan.spec.id)
    bench.job.checkpoints.clear()
    return None


def _run(bench: Bench, progress: Progress | None) -> Result:
    spec = bench.plan.spec
    if spec.parent is not None and spec.train is None:
        return _evaluated(bench, Status.OK)
    fitted = _fit(bench, progress)
    if isinstance(fitted, Result):
        return fitted
    bench.network.load_state_dict(fitted.weights)
    result = _tested(bench, Status.OK, fitted, **_of_fit(fitted))
    save_weights(bench.folder / _WEIGHTS, fitted.weights, bench.plan.spec.id)
    return result


def _trial(bench: Bench, progress: Progress | None) -> Result:
    fitted = _fit(bench, progress)
    if isinstance(fitted, Result):
        return fitted
    parameters = parameters_of(bench.network)
    cost = Cost(parameters=parameters, flops=None, peak_bytes=fitted.peak_bytes)
    return _result(bench, Status.TRIAL, cost=cost, **_of_fit(fitted))


def _fit(bench: Bench, progress: Progress | None) -> Fitted | Result:
    """The outcome of training, or the Result of one that diverged."""
    try:
        audience = Audience(progress, bench.logs, bench.seat)
        return fit(bench.network, bench.task, bench.data, bench.job, audience)
    except Diverged as error:
        return _result(bench, Status.DIVERGED, error.code, error=str(error), curve=error.curve)


def _evaluated(bench: Bench, status: Status = Status.EVALUATED) -> Result:
    scores, _ = bench.evaluate(bench.data.val)
    if not all(math.isfinite(score) for score in scores):
        return _result(bench, Status.DIVERGED, error="a validation score is not finite")
    return _tested(bench, status, val=score_of(scores))


def existing(spec: RunSpec, output_dir: Path) -> Result | None:
    """The Result that a run left below ``output_dir``, if it did.

    Raises:
        ResultError: there is a file, but it is damaged.

    """
    path = output_dir / result_path(spec)
    return read_result(path) if path.exists() else None


def prepare(plan: Plan, place: Place) -> Bench:
    """Load, seed and check everything that a run needs before training.

    A run with a parent has the parent's network at the sampling rate of its own task, without the
    parent's weights.

    Raises:
        SeqbenchError: a plugin, the data, the device or the model's output is not as it must be.

    """
    spec = plan.spec
    device = prepare_device(place)
    memory = PeakMemory(device)
    model_class = load_model(spec.model.name)
    code = code_of(spec)
    _check_version(spec.model.name, spec.model.version, model_class.version)
    task = _task(spec, place)
    data = task.fit_data()
    data = FitData(data.train.to(device), data.val.to(device))
    seed_everything(seed_of(spec.seed, -1))
    network, rate_change = _network(spec, place)
    network = network.to(device)
    try:
        check_output(network, task, data.val)
    except RuntimeError as error:
        if spec.parent is None or _is_for_want_of_memory(error):
            raise
        raise ModelError(
            f"{spec.model.name}, made for {spec.tasks[-1].title}, cannot be used on "
            f"{spec.task.title}: {str(error).splitlines()[0]}"
        ) from error
    folder = folder_of(place.output_dir, spec.id)
    return Bench(plan, task, data, network, device, folder, memory, code, rate_change)


def _network(spec: RunSpec, place: Place) -> tuple[Model, RateChange | None]:
    """The network of a run before any training: made for the first of its parents, if it has any.

    For another sampling rate than the parent's task has, the parent's network is adapted by
    ``at_rate``; one without is left as it is.
    """
    task = _task(spec, place)
    if spec.parent is None:
        cls = load_model(spec.model.name)
        return cls(config_from(cls, spec.model.config, "model"), task.signature), None
    parent = _task(spec.parent, place)
    _check_heirs(parent, task)
    network, _ = _network(spec.parent, place)
    ratio = task.rate / parent.rate
    change = None
    if ratio != 1:
        adaptable = isinstance(network, Adaptable)
        change = RateChange(ratio=ratio, adapted=adaptable, rate=task.rate)
    if change and isinstance(network, Adaptable):
        network = network.at_rate(ratio)
    network.signature = task.signature
    return network, change


def _task(spec: RunSpec, place: Place) -> Task:
    cls = load_task(spec.task.name)
    _check_version(spec.task.name, spec.task.version, cls.version)
    return cls(config_from(cls, spec.task.config, "task"), data_dir=place.data_dir)


def _check_heirs(parent: Task, child: Task) -> None:
    """Only the length, or the size of images, may differ between two tasks that share weights."""
    one, other = (
        (asked.in_channels, len(asked.shape), asked.out_features, asked.target)
        for asked in (parent.signature, child.signature)
    )
    if one != other:
        raise ConfigError(
            f"weights trained on {parent.name} are for (channels, axes, answers, target) {one}; "
            f"{child.name} has {other}",
            "a run and its parent may differ in the length of their sequences, or the size of "
            "their images, alone",
        )


def _prepare_weights(plan: Plan, place: Place, file: WeightsFile) -> Bench:
    bench = prepare(plan, place)
    weights = load_weights(bench.network, file, bench.task.name)
    origin = plan.origin.model_copy(update={"weights": weights})
    return replace(bench, plan=replace(plan, origin=origin))


def _weights_path(spec: RunSpec, place: Place) -> Path:
    return folder_of(place.output_dir, spec.id) / _WEIGHTS


def prepare_device(place: Place, *, computes: bool = True) -> torch.device:
    """The device, checked to be there, with threads, memory and exact float32 set for the process.

    A process that computes nothing itself takes no memory of a GPU, where a context has hundreds
    of megabytes.

    Raises:
        ConfigError: there is no such device here.

    """
    if place.threads < 1:
        raise ConfigError(f"threads cannot be {place.threads}: expected 1 or more")
    torch.set_num_threads(place.threads)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        device = torch.device(place.device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError(f"training on {device.type!r} is not supported")  # noqa: TRY301
        there = device.type == "cuda" and (device.index or 0) < torch.cuda.device_count()
        if computes or not there:
            torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        if _is_for_want_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        if reason.startswith("Expected one of"):
            reason = "there is none of that name"
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


def _tested(bench: Bench, status: Status, fitted: Fitted | None = None, **fields: Any) -> Result:
    """The one place where test data are loaded: the network has its weights."""
    test = bench.task.test_data().to(bench.device)
    scores, loss = bench.evaluate(test)
    fields["cost"] = _cost(bench, test, fitted)
    fields["data"] = _data(bench, test)
    if not all(math.isfinite(score) for score in scores):
        return _result(bench, Status.DIVERGED, **fields | {"error": "a test score is not finite"})
    return _result(
        bench,
        status,
        test=score_of(scores),
        test_loss=loss if math.isfinite(loss) else None,
        test_scores=Packed.pack(scores),
        learned=learned_by(bench.network),
        **fields,
    )


def _of_fit(fitted: Fitted) -> dict[str, Any]:
    return {
        "chosen_epoch": fitted.chosen_epoch,
        "val": score_of(fitted.val_scores),
        "curve": fitted.curve,
        "code": fitted.code,
    }


def _cost(bench: Bench, test: Split, fitted: Fitted | None) -> Cost:
    x = bench.task.encode(test.x[: bench.batch_size])
    peaks = [bench.memory.peak_bytes(), fitted.peak_bytes if fitted else None]
    with autocast(bench.device, bench.precision):
        latency, throughput = measure_inference(bench.network, x)
        flops = count_flops(bench.network, x[:1])
    return Cost(
        parameters=parameters_of(bench.network),
        flops=flops,
        peak_bytes=max((peak for peak in peaks if peak is not None), default=None),
        latency_seconds=latency,
        throughput=throughput,
        throughput_batch=len(x),
        **(_training_cost(bench, fitted) if fitted else {}),
    )


def _training_cost(bench: Bench, fitted: Fitted) -> dict[str, float | None]:
    seconds = sum(point.train_seconds for point in fitted.curve)
    epochs = len(fitted.curve)
    batch_size = bench.train_spec.batch_size
    examples = min(epochs * len(bench.data.train), fitted.curve[-1].steps * batch_size)
    return {
        "train_seconds": seconds,
        "train_cpu_seconds": cpu_seconds_of(fitted.curve),
        "examples_per_second": examples / seconds,
    }


def parameters_of(network: Model) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _data(bench: Bench, test: Split | None = None) -> Data:
    data, constants = bench.data, bench.task.constants
    sources: list[Source | Data] = [data.train.source, data.val.source]
    sources += [test.source] if test else []
    sources += [bench.parent_data] if bench.parent_data else []
    return Data(
        fit_sha256=bench.fit_sha256,
        test_sha256=fingerprint([test], constants) if test else None,
        source_sha256=data.train.source.sha256,
        test_source_sha256=test.source.sha256 if test else None,
        official=all(source.official for source in sources),
        label=next((source.label for source in sources if source.label), None),
    )


def _result(
    bench: Bench, status: Status, code: dict[str, list[str]] | None = None, **fields: Any
) -> Result:
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
        rate_change=bench.rate_change,
        provenance=provenance(spec, bench.device, bench.started_at, seconds, code),
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


def orphaned(plan: Plan, place: Place, parent: Result) -> Result:
    """The Result of a run whose parent has no weights to give."""
    said = f": {parent.error}" if parent.error else ""
    result = failure(
        plan, place, parent.status, f"the parent {parent.id} {parent.status}{said}", 0.0
    )
    return result.model_copy(update={"time_limit_seconds": parent.time_limit_seconds})


def record_failure(result: Result, place: Place, *, trial: bool = False) -> Result:
    """Write the Result of a run that failed, unless it left one after all.

    Raises:
        BusyError: another process is doing the run.
        OutputError: it cannot be written.
        ResultError: there is a Result, but it is damaged.

    """
    with sitting(place.output_dir, result.spec, result.origin) as seat:
        return seat.leave(result, results_in(place, trial=trial))
