"""The one Lightning module, and ``fit``: training sees train and validation data, nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from seqbench.checkpoint import Checkpoint, Checkpoints, optimizer_tensors, restore_optimizer
from seqbench.cost import PeakMemory, wait_for
from seqbench.model import Model
from seqbench.result import Epoch, Learned
from seqbench.schedule import Clock, learning_rate_factor
from seqbench.source import states
from seqbench.spec import TrainSpec
from seqbench.task import FitData, Split, Task

for _logger in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_logger).setLevel(logging.ERROR)

_LOSS_CHECK_STEPS = 50


class Progress(Protocol):
    """Watches training; nothing it does feeds back."""

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Training goes on after these epochs."""

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps are made."""

    def epoch(self, point: Epoch) -> None:
        """An epoch has ended."""


class Audience:
    """Several that watch one training."""

    def __init__(self, *watchers: Progress | None) -> None:
        self._watchers = [watcher for watcher in watchers if watcher]

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Training goes on after these epochs."""
        for watcher in self._watchers:
            watcher.resumed(curve)

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps are made."""
        for watcher in self._watchers:
            watcher.step(done, total)

    def epoch(self, point: Epoch) -> None:
        """An epoch has ended."""
        for watcher in self._watchers:
            watcher.epoch(point)


class Diverged(Exception):  # noqa: N818  (an outcome, not a mistake)
    """The loss stopped being finite; carries the learning curve, and code, up to there."""

    def __init__(self, message: str, curve: tuple[Epoch, ...]) -> None:
        super().__init__(message)
        self.curve = curve
        self.code: dict[str, list[str]] = {}


@dataclass(frozen=True)
class Job:
    """What ``fit`` is asked to do: how to train, from which seed, where, going on from what.

    ``code`` is the SHA-256 of the code of plugins that trains now, by package.
    """

    spec: TrainSpec
    seed: int
    device: torch.device
    checkpoints: Checkpoints
    memory: PeakMemory
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """The outcome of training: the weights of the best epoch by validation, and the curve.

    ``code`` are the states of the code of plugins that it has seen, by package.
    """

    weights: dict[str, Tensor]
    chosen_epoch: int
    val_scores: list[float]
    curve: tuple[Epoch, ...]
    peak_bytes: int | None
    code: dict[str, list[str]] = field(default_factory=dict)


def seed_of(seed: int, epoch: int) -> int:
    """The 32-bit seed of one epoch; -1 is the initialisation.

    Every epoch starts from its own seed, so that a run continued after any epoch draws the same
    numbers as one never interrupted.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    lightning.seed_everything(seed, verbose=False)


class Batches:
    """The training examples of one epoch, shuffled by the epoch's seed, in whole tensors."""

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator: its body runs after the learner has set the epoch.
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        order = torch.randperm(len(self.split), generator=generator).to(self.split.x.device)
        for index in torch.split(order, self.batch_size):
            yield self.split.x[index], self.split.y[index]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context that a forward pass of this precision runs in."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def no_autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context that a backward pass of this precision runs in, within that of the forward."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


@torch.inference_mode()
def evaluate(
    network: Model, task: Task, split: Split, batch_size: int, precision: str = "float32"
) -> tuple[list[float], float]:
    """The score of every example in order, and the mean loss; the network is put in eval mode."""
    network.eval()
    device = split.x.device
    scores, loss = [], 0.0
    batches = zip(torch.split(split.x, batch_size), torch.split(split.y, batch_size), strict=True)
    for x, y in batches:
        with autocast(device, precision):
            y_hat = network(task.encode(x))
        y_hat = y_hat.float()
        scores.append(task.score(y_hat, y).cpu().double())  # MPS has no float64
        loss += float(task.loss(y_hat, y)) * len(y)
    return torch.cat(scores).tolist(), loss / len(split)


def optimizer_for(network: Model, spec: TrainSpec) -> torch.optim.Optimizer:
    """The spec's optimiser over the network's parameter groups."""
    groups = [
        {
            "params": group.parameters,
            "lr": spec.learning_rate * group.learning_rate_scale,
            "scale": group.learning_rate_scale,
            "weight_decay": spec.weight_decay if group.decay else 0.0,
        }
        for group in network.param_groups()
    ]
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    return kinds[spec.optimizer](groups, lr=spec.learning_rate)  # type: ignore[call-arg]


class Learner(LightningModule):
    """Trains one network on one task, validates after every epoch and remembers the best."""

    def __init__(self, network: Model, task: Task, data: FitData, job: Job) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.val = data.val
        self.job = job
        self.clock = Clock.of(job.spec, len(data.train))
        self.batches = Batches(data.train, job.spec.batch_size, job.seed)
        self.curve: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.best_scores: list[float] = []
        self.chosen_epoch = 0
        self.peak_bytes: int | None = None
        self.code = states({}, job.code)
        self.optimizer = optimizer_for(network, job.spec)
        self.progress: Progress | None = None
        self._loss_sum = torch.zeros((), device=job.device)
        self._examples = 0
        self._started = self._cpu_started = 0.0
        self._factor = 1.0

    @property
    def steps_done(self) -> int:
        """Optimiser steps of the epochs that have ended, in this sitting and before it."""
        return self.clock.steps_after(len(self.curve))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser made (and perhaps restored) beforehand."""
        return self.optimizer

    def on_train_epoch_start(self) -> None:
        """Seed the epoch and fix what the plateau schedule says of it."""
        self.batches.epoch = len(self.curve)
        seed_everything(seed_of(self.job.seed, len(self.curve)))
        self.network.train()
        self._val_scores = [p.val_score for p in self.curve if p.val_score is not None]
        self._loss_sum.zero_()
        self._examples = 0
        wait_for(self.job.device)
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Set the learning rate of the step."""
        self._factor = learning_rate_factor(
            self.job.spec,
            self.clock,
            self.steps_done + batch_idx,
            self._val_scores,
            higher_is_better=self.task.higher_is_better,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.job.spec.learning_rate * group["scale"] * self._factor

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Do nothing after the forward pass: ``training_step`` adds up gradients in it."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch, or of its last micro-batch when those before are done with."""
        self.optimizer.zero_grad()
        x, y = batch
        size = self.job.spec.examples_at_once
        *before, last = zip(torch.split(x, size), torch.split(y, size), strict=True)
        for part in before:
            loss = self._loss(*part, of=len(y))
            with no_autocast(x.device, self.job.spec.precision):
                loss.backward()
        loss = self._loss(*last, of=len(y))
        if batch_idx % _LOSS_CHECK_STEPS == 0 and not math.isfinite(float(self._loss_sum)):
            raise Diverged(
                f"the training loss is not finite at step {self.steps_done + batch_idx + 1}",
                tuple(self.curve),
            )
        if self.progress:
            self.progress.step(self.steps_done + batch_idx + 1, self.clock.total_steps)
        return loss

    def _loss(self, x: Tensor, y: Tensor, *, of: int) -> Tensor:
        """What some of the examples of a batch add to its loss, with the network's own penalty."""
        loss: Tensor = self.task.loss(self.network(self.task.encode(x)), y)
        self._loss_sum += loss.detach() * len(y)
        self._examples += len(y)
        loss = loss + self.network.penalty()
        return loss if len(y) == of else loss * (len(y) / of)

    def on_train_epoch_end(self) -> None:
        """Validate, remember the weights if they are the best, and save where we are."""
        wait_for(self.job.device)
        seconds = time.perf_counter() - self._started
        cpu_seconds = time.process_time() - self._cpu_started
        spec = self.job.spec
        scores, val_loss = evaluate(
            self.network, self.task, self.val, spec.examples_at_once, spec.precision
        )
        epoch = len(self.curve) + 1
        mean = math.fsum(scores) / len(scores)
        train_loss = float(self._loss_sum) / max(1, self._examples)
        point = Epoch(
            epoch=epoch,
            steps=self.clock.steps_after(epoch),
            learning_rate=spec.learning_rate * self._factor,
            train_loss=_finite(train_loss),
            val_loss=_finite(val_loss),
            val_score=_finite(mean),
            train_seconds=seconds,
            train_cpu_seconds=cpu_seconds if self.job.device.type == "cpu" else None,
            learned=learned_by(self.network),
        )
        if not (math.isfinite(train_loss) and math.isfinite(val_loss) and math.isfinite(mean)):
            raise Diverged(f"the loss is not finite in epoch {epoch}", (*self.curve, point))
        if self._is_best(mean):
            self.chosen_epoch, self.best_scores = epoch, scores
            self.best = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.curve.append(point)
        peaks = [p for p in (self.peak_bytes, self.job.memory.peak_bytes()) if p is not None]
        self.peak_bytes = max(peaks, default=None)
        save_checkpoint(self)
        if self.progress:
            self.progress.epoch(point)

    def _is_best(self, mean: float) -> bool:
        if not self.best_scores:
            return True
        best = math.fsum(self.best_scores) / len(self.best_scores)
        return mean > best if self.task.higher_is_better else mean < best


def learned_by(network: Model) -> Learned | None:
    """What a network tells of itself; ``None`` if that is nothing, or not finite."""
    learned = {name: tuple(values) for name, values in network.learned().items()}
    finite = all(math.isfinite(value) for values in learned.values() for value in values)
    return (learned or None) if finite else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def fit(
    network: Model, task: Task, data: FitData, job: Job, progress: Progress | None = None
) -> Fitted:
    """Train until the budget is used up, going on from the last checkpoint if there is one.

    Checkpoints stay when training is complete, so that calling again gives the same at once.

    Raises:
        Diverged: the loss is not finite.
        LostError: the run is another process's by now.
        OutputError: a checkpoint cannot be written.
        ResultError: the checkpoint is of another run, or was made on other data.

    """
    learner = Learner(network, task, data, job)
    load_checkpoint(learner)
    learner.progress = progress
    if progress and learner.curve:
        progress.resumed(learner.curve)
    remaining = learner.clock.total_steps - learner.steps_done
    if remaining:
        learner.train()
        try:
            _train(learner, job, remaining)
        except Diverged as error:
            error.code = learner.code
            raise
    return Fitted(
        weights=learner.best,
        chosen_epoch=learner.chosen_epoch,
        val_scores=learner.best_scores,
        curve=tuple(learner.curve),
        peak_bytes=learner.peak_bytes,
        code=learner.code,
    )


def _train(learner: Learner, job: Job, steps: int) -> None:
    with warnings.catch_warnings():
        # Lightning 2.6 calls deprecated parts of torch, and advises the GPU to CPU users.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = Trainer(
            accelerator="gpu" if job.device.type == "cuda" else job.device.type,
            devices=1 if job.device.type != "cuda" else [job.device.index or 0],
            max_epochs=-1,
            max_steps=steps,
            precision="bf16-mixed" if job.spec.precision == "bfloat16-mixed" else "32-true",
            gradient_clip_val=job.spec.gradient_clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],  # each training is its own, also among tasks of SLURM
        )
        try:
            trainer.fit(learner, train_dataloaders=learner.batches)
        except SystemExit:  # Lightning's answer to an interrupt
            raise KeyboardInterrupt from None
        finally:
            learner.network.to(job.device)  # Lightning leaves it on the CPU, however it ends


def save_checkpoint(learner: Learner) -> None:
    """Write where training stands."""
    tensors = {f"network.{name}": value for name, value in learner.network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in learner.best.items()}
    tensors |= {f"optimizer.{n}": v for n, v in optimizer_tensors(learner.optimizer).items()}
    tensors["best_scores"] = torch.tensor(learner.best_scores, dtype=torch.float64)
    facts = {
        "curve": [point.model_dump(mode="json") for point in learner.curve],
        "chosen_epoch": learner.chosen_epoch,
        "peak_bytes": learner.peak_bytes,
        "code": learner.code,
    }
    learner.job.checkpoints.save(len(learner.curve), Checkpoint(tensors, facts))


def load_checkpoint(learner: Learner) -> None:
    """Take up training where the newest good checkpoint stands; without one, do nothing."""
    checkpoint = learner.job.checkpoints.load()
    if checkpoint is None:
        return
    device, facts = learner.job.device, checkpoint.facts
    learner.network.load_state_dict(checkpoint.below("network."))
    restore_optimizer(learner.optimizer, checkpoint.below("optimizer."))
    learner.best = {name: value.to(device) for name, value in checkpoint.below("best.").items()}
    learner.best_scores = checkpoint.tensors["best_scores"].tolist()
    learner.curve = [Epoch.model_validate(point) for point in facts["curve"]]
    learner.chosen_epoch = facts["chosen_epoch"]
    learner.peak_bytes = facts["peak_bytes"]
    before = facts.get("code", {})
    learner.code = states(before, learner.job.code)
    changed = sorted(p for p, seen in learner.code.items() if before.get(p, seen)[-1] != seen[-1])
    if changed:
        warnings.warn(
            f"the code of {', '.join(changed)} has changed since epoch {len(learner.curve)}, from "
            "which this training goes on; its result will say so. Raise the model's or task's "
            "`version` if that gives other numbers: it is another run then. Or delete "
            f"{learner.job.checkpoints.folder}, and it starts from the beginning",
            stacklevel=2,
        )
