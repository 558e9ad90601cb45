"""What came out of a run: one file, readable without torch and without the plugin."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import math
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from seqbench.errors import OutputError, ResultError
from seqbench.files import Location, files_below
from seqbench.spec import Frozen, RunSpec, Signature, canonical_json

SCHEMA_VERSION = 1

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_BUSY = 0.9
_NAME = re.compile(r".+-seed\d+-[0-9a-f]{16}\.json")
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Status(StrEnum):
    """How a run ended.

    Only ``ok`` is ranked; the others are shown, never dropped. ``trial`` marks the training of a
    search over settings, which never sees test data and is kept apart from the results.
    """

    OK = "ok"
    EVALUATED = "evaluated"
    DIVERGED = "diverged"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    TRIAL = "trial"


RETRIED = (Status.FAILED, Status.OOM, Status.TIMEOUT)
"""How a run may have ended for reasons that lie outside its spec."""

Learned = dict[str, tuple[float, ...]]
"""Quantities that a network learns and that mean something by themselves, layer by layer."""


class Score(Frozen):
    """Mean over examples with its standard error (sd / sqrt n, sd with n - 1)."""

    mean: float
    standard_error: float
    n: int


class Epoch(Frozen):
    """One point of the learning curve; ``None`` where a number was not finite.

    ``train_cpu_seconds`` are the processor's seconds within ``train_seconds``, of all threads of
    the process; ``None`` on a GPU, and in results from before the field. ``learned`` is what
    ``Model.learned`` told at the end of the epoch.
    """

    epoch: int
    steps: int
    learning_rate: float
    train_loss: float | None
    val_loss: float | None
    val_score: float | None
    train_seconds: float
    train_cpu_seconds: float | None = None
    learned: Learned | None = None


def cpu_seconds_of(curve: Iterable[Epoch]) -> float | None:
    """The processor's seconds of a whole training, if every epoch has told them."""
    told = [point.train_cpu_seconds for point in curve]
    known = [seconds for seconds in told if seconds is not None]
    return math.fsum(known) if known and len(known) == len(told) else None


class Packed(Frozen):
    """Scores per example, compactly: zlib over bits or little-endian float32, in base64.

    ``bits`` are packed eight a byte, the first example in the highest bit.
    """

    encoding: Literal["bits", "float32"]
    n: int
    data: str

    @classmethod
    def pack(cls, scores: Sequence[float]) -> Self:
        """Pack scores; only zeros and ones take a bit each."""
        if all(s in (0.0, 1.0) for s in scores):
            bits = "".join("1" if s else "0" for s in scores)
            size = (len(bits) + 7) // 8
            raw = int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
            encoding: Literal["bits", "float32"] = "bits"
        else:
            raw = struct.pack(f"<{len(scores)}f", *scores)
            encoding = "float32"
        data = base64.b64encode(zlib.compress(raw, 9)).decode()
        return cls(encoding=encoding, n=len(scores), data=data)

    def unpack(self) -> list[float]:
        """The scores, in the order of the test split."""
        raw = zlib.decompress(base64.b64decode(self.data))
        if self.encoding == "float32":
            return list(struct.unpack(f"<{self.n}f", raw))
        bits = "".join(f"{byte:08b}" for byte in raw)
        return [float(bit) for bit in bits[: self.n]]


class Metric(Frozen):
    """The name of the score and which way is better."""

    name: str
    higher_is_better: bool


class Data(Frozen):
    """Fingerprints of the data of a run.

    ``fit_sha256`` and ``test_sha256`` are over the arrays that the network's input is made from
    (``seqbench.task.fingerprint``), ``source_sha256`` over the raw training data before any
    processing. ``official`` is false unless every source is recognised.
    """

    fit_sha256: str
    test_sha256: str | None = None
    source_sha256: str
    test_source_sha256: str | None = None
    official: bool
    label: str | None = None


class Cost(Frozen):
    """What a run cost.

    ``flops`` is of one forward pass for one example, ``None`` where an operator is not known.
    ``train_cpu_seconds`` are as in ``Epoch``. ``examples_per_second`` is of training;
    ``latency_seconds`` the median time of one forward pass at batch 1; ``throughput`` examples per
    second of inference at ``throughput_batch``.
    ``peak_bytes`` is resident memory on a CPU, allocated memory on a GPU.
    """

    parameters: int
    flops: int | None
    train_seconds: float | None = None
    train_cpu_seconds: float | None = None
    examples_per_second: float | None = None
    peak_bytes: int | None = None
    latency_seconds: float | None = None
    throughput: float | None = None
    throughput_batch: int | None = None

    @property
    def waited(self) -> bool:
        """Whether training took longer than it would have on an idle machine.

        A process that trains keeps one core busy at least. If it had one for less than 0.9 of the
        time, others used the machine, or it waited for a disk.
        """
        if self.train_seconds is None or self.train_cpu_seconds is None:
            return False
        return self.train_cpu_seconds < _BUSY * self.train_seconds


class Plugin(Frozen):
    """The distribution that a task or model came from.

    Of a plugin that is not seqbench itself: ``code`` is the SHA-256 of its package's source, of
    every state of it in turn if it was changed between two sittings of a training; ``commit`` and
    ``dirty`` are of the checkout that tracks it, if one does.
    """

    distribution: str
    version: str
    entry_point: str
    code: tuple[str, ...] | None = None
    commit: str | None = None
    dirty: bool | None = None


class Provenance(Frozen):
    """What ran it, where and when.

    ``started_at`` and ``seconds`` are of the sitting that ended the run; an interrupted run's
    whole training time is ``Cost.train_seconds``. ``commit`` is that of the checkout that
    seqbench was imported from, ``None`` for an installed package. ``device`` is the type, ``cuda``
    whichever of a machine's GPUs it was, and ``device_name`` what that is.
    """

    seqbench: str
    task_plugin: Plugin
    model_plugin: Plugin
    packages: dict[str, str]
    python: str
    platform: str
    commit: str | None
    dirty: bool | None
    device: str
    device_name: str
    threads: int
    started_at: str
    seconds: float


class Weights(Frozen):
    """What is known of weights that a run only evaluated.

    ``selection`` names the data by which they were chosen among a training's epochs: with
    ``test``, a test score is an upper bound on what the strict protocol gives. ``source`` is who
    made them, ``run`` the id of the run that wrote them if it was one of seqbench, ``file`` the
    name of their file.
    """

    file: str | None = None
    source: str | None = None
    run: str | None = None
    selection: Literal["validation", "test", "unknown"] = "unknown"


class Origin(Frozen):
    """How the spec came about; decides nothing, so it is not part of the spec.

    ``settings`` is ``published`` (a recipe, unchanged), ``searched`` (the protocol's search;
    ``trials`` are the ids tried) or ``custom``. ``overrides`` is what was set by hand, by path.
    ``weights`` is there if the run evaluated weights instead of training, ``parent`` if it
    started from those of another run, whose origin it is.
    """

    preset: str
    task_preset: str = "default"
    settings: Literal["published", "searched", "custom"]
    recipe_source: str | None = None
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    trials: tuple[str, ...] = ()
    weights: Weights | None = None
    parent: Origin | None = None


class RateChange(Frozen):
    """What was done with a network trained at one sampling rate, for a task at another.

    ``ratio`` is the task's rate by that of the parent's task, ``rate`` the task's own (``None``
    in results from before the field: the task's config says it). A network was ``adapted`` by the
    model's ``at_rate``; without that it is used as it is.
    """

    ratio: float
    adapted: bool
    rate: float | None = None


class Result(Frozen):
    """The outcome of one RunSpec.

    ``learned`` is of the weights that were tested. ``rate_change`` is there if the parent's task
    has another sampling rate, ``time_limit_seconds`` if the run was ended by it.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    spec: RunSpec
    origin: Origin
    status: Status
    error: str | None = None
    time_limit_seconds: float | None = None
    metric: Metric
    signature: Signature | None = None
    chosen_epoch: int | None = None
    val: Score | None = None
    test: Score | None = None
    test_loss: float | None = None
    test_scores: Packed | None = None
    curve: tuple[Epoch, ...] = ()
    learned: Learned | None = None
    rate_change: RateChange | None = None
    data: Data | None = None
    cost: Cost | None = None
    provenance: Provenance
    digest: str = ""

    @model_validator(mode="after")
    def _named_by_its_spec(self) -> Self:
        if self.id != self.spec.id:
            msg = f"the id {self.id} is not the hash of the spec, {self.spec.id}"
            raise ValueError(msg)
        return self

    @property
    def path(self) -> Path:
        """Where the file stands below the results of a directory; the same for the same spec."""
        return result_path(self.spec)

    @property
    def is_cut(self) -> bool:
        """Whether training had a budget of steps (protocol, rule 6), and was no whole one.

        Budgets in seconds are converted into ``max_steps`` before a run, so that field tells the
        two apart, unless it is a published recipe that counts in steps.
        """
        counted = any(train.max_steps is not None for train in self.spec.trainings)
        return counted and self.origin.settings != "published"

    def sealed(self) -> Self:
        """The same result with its ``digest``."""
        return self.model_copy(update={"digest": self.compute_digest()})

    def compute_digest(self) -> str:
        """SHA-256 of the canonical JSON of everything but ``digest``."""
        data = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def result_path(spec: RunSpec) -> Path:
    """``results/TASK/MODEL-seedN-ID.json``, relative to the output directory."""
    return Path("results", spec.task.name, f"{spec.model.name}-seed{spec.seed}-{spec.id}.json")


def score_of(scores: Sequence[float]) -> Score:
    """Mean and standard error of scores, one an example.

    The mean is the exactly rounded sum over n, so it does not depend on batch size.
    """
    n = len(scores)
    mean = math.fsum(scores) / n
    variance = math.fsum((s - mean) ** 2 for s in scores) / (n - 1) if n > 1 else 0.0
    return Score(mean=mean, standard_error=math.sqrt(variance / n), n=n)


def write_result(result: Result, directory: Path) -> Path:
    """Write a sealed result below ``directory``, whole or not at all; give its path.

    Raises:
        OutputError: the directory cannot be written.

    """
    path = directory / result.path
    write_atomically(path, _file_content(result))
    return path


def leave_result(result: Result, directory: Path) -> Result:
    """Write a result unless one that stays is there; give the one that is there then.

    What stays is never written over, whoever else is writing: only a run that failed for reasons
    outside its spec is replaced.

    Raises:
        OutputError: the directory cannot be written.
        ResultError: what is there is damaged.

    """
    path = directory / result.path
    if create(path, _file_content(result)):
        return result
    there = read_result(path)
    if there.status not in RETRIED:
        return there
    write_result(result, directory)
    return result


def _file_content(result: Result) -> bytes:
    text = json.dumps(result.sealed().model_dump(mode="json"), indent=1, allow_nan=False)
    return text.encode() + b"\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part.

    Raises:
        OutputError: it cannot be written.

    """
    try:
        written = _write_beside(path, content)
        try:
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def create(path: Path, content: bytes) -> bool:
    """Write a new file, whole or not at all; false if there is a file already.

    One of several who try at once succeeds. That holds on NFS too, where link(2) is atomic and may
    yet report failure after success, which the number of links then tells (open(2), O_EXCL). On a
    file system without links several may succeed, and the last one's content stays.

    Raises:
        OutputError: it cannot be written.

    """
    try:
        written = _write_beside(path, content)
        try:
            return _linked(written, path)
        finally:
            written.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _linked(written: Path, path: Path) -> bool:
    try:
        os.link(written, path)
    except FileExistsError:
        return written.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        written.replace(path)
    return True


def _write_beside(path: Path, content: bytes) -> Path:
    """A file of another name in the same directory, safely on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left of writing files; nobody may be writing them now."""
    for left in folder.glob(f".{name}.*"):
        left.unlink(missing_ok=True)


def check_writable(directory: Path) -> None:
    """Make sure, before any work is done, that its outcome can be written.

    Raises:
        OutputError: ``directory`` cannot be made or written.

    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise unwritable(directory, error) from error


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota is full."""
    return error.errno in _FULL


def unwritable(path: Path, error: OSError) -> OutputError:
    """What is said where a file cannot be written."""
    return OutputError(
        f"cannot write {path}: {error.strerror}",
        "make room; the same command continues where this one ended"
        if is_full(error)
        else "choose a directory you may write to, with --output-dir",
    )


_EXPECTED = "expected the file of a Result, as a run leaves it: results/TASK/MODEL-seedN-ID.json"


def read_result(path: Path) -> Result:
    """Read a result of this or any older schema version and check that it is whole.

    Raises:
        ResultError: it is not a result, cut off, changed after it was sealed, or of a schema
            version newer than this seqbench knows.

    """
    return parse_result(str(path), path.read_bytes)


def parse_result(path: str, read: Callable[[], bytes]) -> Result:
    """``read_result`` of a file that is read in another way; ``path`` is what users call it.

    Raises:
        ResultError: as ``read_result``.

    """
    try:
        text = read()
        data = json.loads(text)
    except OSError as error:
        raise ResultError(
            f"cannot read the result {path}: {error.strerror or error}", _EXPECTED
        ) from error
    except ValueError as error:
        raise ResultError(
            f"{path} is not readable JSON, so that it is not a Result: {error}", _mend(path)
        ) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or "spec" not in data:
        raise ResultError(f"{path} is not a Result", _mend(path))
    if version > SCHEMA_VERSION:
        raise ResultError(
            f"{path} has schema version {version}; this seqbench reads up to {SCHEMA_VERSION}",
            "upgrade seqbench",
        )
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultError(
            f"{path} is not a valid result: {where}: {first['msg']}", _mend(path)
        ) from error
    if result.digest != result.compute_digest():
        raise ResultError(
            f"{path} does not match its own digest: it was changed after it was written",
            _mend(path),
        )
    return result


def _mend(path: str) -> str:
    """Deleting is the advice only for a file that stands where a run leaves one."""
    *_, folder, _, name = ("", "", *PurePath(path).parts)
    if folder == "results" and _NAME.fullmatch(name):
        return "the file is damaged or was changed; delete it and the run is done again"
    return _EXPECTED


def read_results(directory: Location) -> tuple[list[Result], list[ResultError]]:
    """All results below ``directory``, by path, and an error for each file that is none."""
    results, errors = [], []
    for file in files_below(directory, "results"):
        try:
            results.append(parse_result(file.name, file.read))
        except ResultError as error:
            errors.append(error)
    return results, errors
