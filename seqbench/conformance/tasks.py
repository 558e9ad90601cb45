"""The promises of a task, looked into with all its data."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqbench.conformance import fresh
from seqbench.conformance.declared import check_generators, configured
from seqbench.conformance.rule import Broken, NotApplicable, Rule
from seqbench.errors import DataError
from seqbench.registry import Entry
from seqbench.resolve import presets_of, to_json
from seqbench.spec import Signature
from seqbench.task import IGNORED, FitData, Split, Task

RARE = 0.01
"""The largest share of a split that may be in another one too, as published images have twins, or
of a class that was never trained on, where classes are thousands."""

CONSTANT = 0.9
"""What a network that ignores its input may score at most, where the score is accuracy."""

_NUMBERS = 2**24
"""How many numbers outputs may have that are made up at once."""

_EXAMPLES = 5


@dataclass(frozen=True)
class TaskSubject:
    """A task with one of its presets, the first by default, and all its data."""

    cls: type[Task]
    entry: Entry | None = None
    preset: str | None = None
    data_dir: Path | None = None

    @property
    def chosen(self) -> str:
        """The name of the preset."""
        return self.preset or next(iter(presets_of(self.cls)))

    @cached_property
    def config(self) -> Any:
        """The config of the preset."""
        return presets_of(self.cls)[self.chosen]

    @cached_property
    def task(self) -> Task:
        """The task, made once."""
        return self.cls(self.config, data_dir=self.data_dir)

    @property
    def signature(self) -> Signature:
        """What a network for the task takes and gives."""
        return self.task.signature

    @cached_property
    def fit(self) -> FitData:
        """The data of training and validation."""
        return self.task.fit_data()

    @cached_property
    def test(self) -> Split:
        """The test data."""
        return self.task.test_data()

    @property
    def splits(self) -> dict[str, Split]:
        """All data, by the name of the split."""
        return {"train": self.fit.train, "val": self.fit.val, "test": self.test}

    @property
    def classes(self) -> bool:
        """Whether targets are classes, not numbers."""
        return not self.test.y.is_floating_point()

    @cached_property
    def elsewhere(self) -> dict[str, Any]:
        """What a process of its own sees of a registered task."""
        if self.entry is None:
            raise NotApplicable("a class by itself; looked at where it is registered")
        return fresh.look(self.entry, to_json(self.config), self.data_dir)

    def outputs(self, y: Tensor) -> tuple[int, ...]:
        """The shape that a network's answers have for these targets."""
        steps = self.signature.shape if self.signature.target == "step" else ()
        return (len(y), self.signature.out_features, *steps)

    @cached_property
    def y(self) -> Tensor:
        """Test targets, as many as answers may be made up for."""
        n = max(_EXAMPLES, _NUMBERS // math.prod(self.outputs(self.test.y[:1])))
        return self.test.y[:n]

    def at_random(self, y: Tensor) -> Tensor:
        """Answers that know nothing."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.outputs(y), generator=generator)

    def right(self, y: Tensor) -> Tensor:
        """Answers that are right: the number, or a large value at the class.

        Raises:
            NotApplicable: the targets are neither a class nor numbers of the answer's shape.

        """
        shape = self.outputs(y)
        if self.classes and y.shape == (shape[0], *shape[2:]):
            answers = torch.zeros(shape)
            return answers.scatter_(1, y.long().clamp(min=0).unsqueeze(1), 100.0)
        if not self.classes and y.numel() == math.prod(shape):
            return y.float().reshape(shape)
        raise NotApplicable(
            f"targets of shape {tuple(y.shape)} and {y.dtype} are neither classes nor numbers for "
            f"answers of shape {shape}: nobody knows what is right"
        )


def _import(subject: TaskSubject) -> str:
    """Importing the module and making the task leave the global generators as they are."""
    return check_generators(subject.elsewhere["generators"])


def _splits(subject: TaskSubject) -> str:
    """Every split has examples, one target an example, all in one block of memory."""
    try:
        splits = subject.splits
    except DataError as error:
        raise NotApplicable(f"{error.message}. {error.hint}") from error
    for name, split in splits.items():
        if len(split.x) != len(split.y) or len(split) < 2:
            raise Broken(
                f"{name} has {len(split.x)} inputs and {len(split.y)} targets",
                "a target for each input, and at least two of them",
                "return Split(x, y, source) with the example as the first dimension of both",
            )
        if not split.x.is_contiguous():
            raise Broken(
                f"the inputs of {name} are a view into other memory",
                "a block of their own",
                "end with .contiguous()",
            )
    sizes = " / ".join(f"{len(split):,}" for split in splits.values())
    alone = "" if len(presets_of(subject.cls)) == 1 else f"; of preset {subject.chosen!r} alone"
    return f"{sizes} examples to train, validate, test{alone}"


def _encode(subject: TaskSubject) -> str:
    """A batch is float32 (batch, channel, time), finite; examples do not mix."""
    task, signature = subject.task, subject.signature
    for name, split in subject.splits.items():
        x = split.x[:_EXAMPLES]
        with torch.inference_mode():
            encoded = task.encode(x)
        expected = (len(x), signature.in_channels, *signature.shape)
        if tuple(encoded.shape) != expected or encoded.dtype != torch.float32:
            raise Broken(
                f"encode() makes {encoded.dtype} of shape {tuple(encoded.shape)} of {name}",
                f"torch.float32 of shape {expected}, as the signature says",
                "mend encode() or the signature",
            )
        if not encoded.isfinite().all():
            raise Broken(
                f"encoded examples of {name} hold infinities or NaN",
                "finite numbers",
                "look for divisions by zero and missing values",
            )
        if not torch.equal(encoded, torch.cat([task.encode(one) for one in x.split(1)])):
            raise Broken(
                f"an example of {name} is encoded otherwise alone than in a batch",
                "encode() to treat every example by itself",
                "normalise by constants of the task, not by the batch",
            )
    weight = torch.ones((), requires_grad=True)  # fails if inference mode has left something behind
    (task.encode(subject.test.x[:_EXAMPLES]) * weight).sum().backward()
    shape = " x ".join(map(str, (signature.in_channels, *signature.shape)))
    return f"float32, {shape}"


def _labels(subject: TaskSubject) -> str:
    """Targets have the shape and the range that the signature asks for."""
    signature = subject.signature
    steps = signature.shape if signature.target == "step" else ()
    for name, split in subject.splits.items():
        y = split.y
        if not subject.classes:
            if not y.isfinite().all():
                raise Broken(f"targets of {name} are not finite", "numbers", "mend the data")
            continue
        if y.shape != (len(split), *steps):
            raise Broken(
                f"classes of {name} have shape {tuple(y.shape)}",
                f"{(len(split), *steps)} for target {signature.target!r}",
                "give one class an example, or one a step where signature.target is 'step'",
            )
        scored = y[y != IGNORED]
        bounds = (int(scored.min()), int(scored.max())) if len(scored) else (0, 0)
        if bounds[0] < 0 or bounds[1] >= signature.out_features:
            raise Broken(
                f"classes of {name} go from {bounds[0]} to {bounds[1]}",
                f"0 to {signature.out_features - 1}, below out_features = {signature.out_features}",
                f"number classes from 0 on; {IGNORED} marks what is not scored",
            )
        if not (y != IGNORED).reshape(len(y), -1).any(dim=1).all():
            raise Broken(
                f"an example of {name} has no target that is scored",
                "at least one",
                f"ask for something, or leave the example out; {IGNORED} marks what is not scored",
            )
    return "classes" if subject.classes else "numbers"


def _balance(subject: TaskSubject) -> str:
    """Classes that are tested are trained on, in like shares; no constant answer does well."""
    if not subject.classes:
        raise NotApplicable("targets are numbers")
    n = subject.signature.out_features
    counts = {
        name: torch.bincount(split.y[split.y != IGNORED].long(), minlength=n).double()
        for name, split in subject.splits.items()
    }
    shares = {name: count / count.sum() for name, count in counts.items()}
    for name in ("val", "test"):
        unseen = float(shares[name][counts["train"] == 0].sum())
        if unseen > RARE:
            which = int(torch.argmax(counts[name] * (counts["train"] == 0)))
            raise Broken(
                f"{unseen:.0%} of {name} are of classes that train does not have, such as {which}",
                f"at most {RARE:.0%}",
                "draw the splits at random, or stratified",
            )
        distance = 0.5 * float((shares[name] - shares["train"]).abs().sum())
        bound = 0.1 + math.sqrt(n / float(counts[name].sum()))
        if distance > bound:
            raise Broken(
                f"{distance:.0%} of {name} would have to change class to be as train",
                f"at most {bound:.0%}",
                "draw the splits at random, or stratified",
            )
    return _constant(subject, shares["test"])


def _constant(subject: TaskSubject, shares: Tensor) -> str:
    """The score of the best constant answer, of those that are most often right."""
    if subject.task.metric != "accuracy":
        return f"the most frequent class is asked {float(shares.max()):.0%} of the time"
    best, which = 0.0, 0
    for chosen in shares.argsort(descending=True)[:10].tolist():
        answers = torch.zeros(subject.outputs(subject.y))
        answers[:, chosen] = 1
        score = float(subject.task.score(answers, subject.y).double().mean())
        best, which = max((best, which), (score, chosen))
    if best > CONSTANT:
        raise Broken(
            f"always answering class {which} scores {best:.2f}",
            f"at most {CONSTANT}",
            f"balance the classes, or mark by {IGNORED} the steps at which nothing is asked",
        )
    return f"the best constant answer scores {best:.2f}"


def _disjoint(subject: TaskSubject) -> str:
    """What is validated or tested on was not trained on."""
    rows = {name: _rows(split.x) for name, split in subject.splits.items()}
    found = []
    for one, other in (("val", "train"), ("test", "train"), ("test", "val")):
        shared, n = len(rows[one] & rows[other]), len(rows[one])
        if shared > RARE * n:
            raise Broken(
                f"{shared:,} of {n:,} different inputs of {one} are in {other} too",
                f"at most {RARE:.0%}",
                "split without replacement; for generated data draw each split from a seed of its "
                "own, and make the examples richer",
            )
        found += [f"{shared} of {one} in {other}"] if shared else []
    return ", ".join(found) or "no input is in two splits"


def _rows(x: Tensor) -> set[bytes]:
    """Every input in 16 bytes."""
    arrays = x.contiguous().numpy()
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in arrays}


def _fingerprints(subject: TaskSubject) -> str:
    """Data made again are the same; for a registered task, under other seeds and elsewhere."""
    made = fresh.fingerprints_of(subject.task, subject.fit, subject.test)
    again = _made_again(subject) if subject.entry is None else subject.elsewhere
    for name, print_ in made.items():
        if print_ != again[name]:
            raise Broken(
                f"{name} data made again have another fingerprint: {print_[:8]}, then "
                f"{again[name][:8]}",
                "the same at all times",
                "draw from a generator with a seed that is a constant of the task, such as "
                "numpy.random.RandomState(0), and iterate over no set",
            )
    return f"fit {made['fit'][:8]}, test {made['test'][:8]}"


def _made_again(subject: TaskSubject) -> dict[str, str]:
    """Here, where global generators have gone on if the data were drawn from them."""
    task = subject.cls(subject.config, data_dir=subject.data_dir)
    return fresh.fingerprints_of(task, task.fit_data(), task.test_data())


def _scores(subject: TaskSubject) -> str:
    """``score`` gives one number an example, whatever else is in the batch."""
    y = subject.y[:_EXAMPLES]
    answers = subject.at_random(y)
    score = subject.task.score(answers, y)
    if tuple(score.shape) != (len(y),) or not score.is_floating_point():
        raise Broken(
            f"score() of {len(y)} examples is {score.dtype} of shape {tuple(score.shape)}",
            f"a float for each example, shape {(len(y),)}",
            "take no mean over the batch: the average is taken over all examples at the end",
        )
    if not score.isfinite().all():
        raise Broken(
            f"scores of random answers are {score.tolist()}",
            "finite numbers",
            "look for divisions by zero and logarithms",
        )
    pairs = zip(answers.split(1), y.split(1), strict=True)
    if not torch.allclose(score, torch.cat([subject.task.score(*pair) for pair in pairs])):
        raise Broken(
            "the score of an example depends on the others in the batch",
            "the same score alone and in a batch",
            "let score() treat every example by itself",
        )
    return "one an example"


def _perfect(subject: TaskSubject) -> str:
    """Right answers have the best score: 1 for accuracy, and better than chance for all others."""
    task, y = subject.task, subject.y
    score = task.score(subject.right(y), y)
    mean, chance = float(score.mean()), float(task.score(subject.at_random(y), y).mean())
    if task.metric == "accuracy":
        if not torch.all(score == 1):
            mend = "mend score() or the targets"
            raise Broken(f"right answers score {mean:.3f}", "1 for every example", mend)
        if not task.higher_is_better:
            raise Broken("higher_is_better is False", "True for accuracy", "mend it, or `metric`")
    elif not (mean > chance if task.higher_is_better else mean < chance):
        arrow = "higher" if task.higher_is_better else "lower"
        raise Broken(
            f"right answers score {mean:.3g}, answers at random {chance:.3g}",
            f"the first to be {arrow}, as higher_is_better says",
            "mend score() or higher_is_better",
        )
    return f"scores {mean:.3g}"


def _chance(subject: TaskSubject) -> str:
    """Random classes are right once in ``out_features``, within five standard errors."""
    task, y = subject.task, subject.y
    mean = float(task.score(subject.at_random(y), y).double().mean())
    if task.metric != "accuracy" or not subject.classes:
        return f"answers at random score {mean:.3g}"
    chance = 1 / subject.signature.out_features
    bound = 5 * math.sqrt(chance * (1 - chance) / len(y)) + 1 / len(y)
    if abs(mean - chance) > bound:
        raise Broken(
            f"answers at random score {mean:.3f}",
            f"{chance:.3f} within {bound:.3f}, one class of {subject.signature.out_features}",
            "score only what is asked, and give no credit for anything else",
        )
    return f"answers at random score {mean:.3f}"


def _loss(subject: TaskSubject) -> str:
    """The loss is a finite mean over examples with a gradient, and least for right answers."""
    task, y = subject.task, subject.y[: 8 * _EXAMPLES]
    answers = subject.at_random(y).requires_grad_()
    loss = task.loss(answers, y)
    if loss.shape != () or not loss.isfinite():
        raise Broken(
            f"the loss of random answers is {loss.detach()}",
            "one finite number",
            "reduce to the mean, and take no logarithm or quotient of zero",
        )
    loss.backward()
    gradient = answers.grad
    if gradient is None or not gradient.isfinite().all() or not gradient.any():
        raise Broken(
            "the loss has no gradient in the answers, or one that is not finite",
            "one to descend",
            "use no argmax, rounding or detach()",
        )
    once = loss.item()
    twice = task.loss(torch.cat([answers, answers]).detach(), torch.cat([y, y])).item()
    if not math.isclose(twice, once, rel_tol=1e-3):
        raise Broken(
            f"the same examples twice have the loss {twice:.4g}, once {once:.4g}",
            "a mean, which stays",
            "reduce by the mean, not by the sum",
        )
    return _least(subject, y, once)


def _least(subject: TaskSubject, y: Tensor, loss: float) -> str:
    try:
        right = float(subject.task.loss(subject.right(y), y))
    except NotApplicable:
        return f"{loss:.3g} for answers at random"
    if not right < loss:
        raise Broken(
            f"right answers have the loss {right:.4g}, answers at random {loss:.4g}",
            "less for right ones",
            "look for a wrong sign, or classes taken for numbers",
        )
    return f"{right:.2g} for right answers, {loss:.3g} for answers at random"


TASK_RULES: tuple[Rule[TaskSubject], ...] = (
    Rule("config", configured, needed=True),
    Rule("splits", _splits, needed=True),
    Rule("import", _import),
    Rule("fingerprints", _fingerprints),
    Rule("encode", _encode),
    Rule("labels", _labels, needed=True),
    Rule("scores", _scores, needed=True),
    Rule("perfect", _perfect),
    Rule("chance", _chance),
    Rule("loss", _loss),
    Rule("balance", _balance),
    Rule("disjoint", _disjoint),
)
