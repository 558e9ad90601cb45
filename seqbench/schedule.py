"""How many steps a training has and at which learning rate: pure functions, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seqbench.spec import Constant, Cosine, Plateau, Steps, TrainSpec


@dataclass(frozen=True)
class Clock:
    """How many steps there are: an epoch's, and the whole training's."""

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, spec: TrainSpec, examples: int) -> Clock:
        """The clock of a spec on so many training examples; the last batch may be smaller."""
        per_epoch = math.ceil(examples / spec.batch_size)
        total = per_epoch * spec.epochs
        return cls(per_epoch, min(total, spec.max_steps or total))

    def steps_after(self, epochs: int) -> int:
        """Steps made when so many epochs have ended."""
        return min(epochs * self.steps_per_epoch, self.total_steps)


def learning_rate_factor(
    spec: TrainSpec, clock: Clock, step: int, val_scores: list[float], *, higher_is_better: bool
) -> float:
    """The factor on the learning rate at ``step`` (from 0), given validation scores so far.

    Linear warm-up from 1/n to 1 over n steps; ``Cosine`` then follows half a cosine to zero at
    the last step; ``Plateau`` multiplies once for every ``patience + 1`` epochs in a row without
    a better score (as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with threshold 0); ``Steps``
    multiplies after every so many epochs.
    """
    warmup = round(spec.warmup_epochs * clock.steps_per_epoch)
    factor = (step + 1) / warmup if step < warmup else 1.0
    match spec.schedule:
        case Constant():
            return factor
        case Cosine() if step >= warmup:
            done = (step - warmup) / max(1, clock.total_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * done))
        case Steps(factor=reduction, every_epochs=every):
            return factor * reduction ** (step // (every * clock.steps_per_epoch))
        case Plateau(factor=reduction, patience=patience):
            return factor * reduction ** _reductions(val_scores, patience, higher_is_better)
    return factor


def _reductions(val_scores: list[float], patience: int, higher_is_better: bool) -> int:
    best, bad, reductions = -math.inf, 0, 0
    for score in val_scores:
        signed = score if higher_is_better else -score
        bad = 0 if signed > best else bad + 1
        best = max(best, signed)
        if bad > patience:
            bad, reductions = 0, reductions + 1
    return reductions
