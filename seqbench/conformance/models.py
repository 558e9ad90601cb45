"""The promises of a model, looked into on the CPU with small inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from seqbench import registry
from seqbench.conformance.declared import configured, imported
from seqbench.conformance.rule import Broken, NotApplicable, Rule, as_broken, describe
from seqbench.errors import SeqbenchError
from seqbench.model import Adaptable, Model
from seqbench.registry import Entry
from seqbench.resolve import config_from, presets_of, to_json
from seqbench.runner import parameters_of
from seqbench.spec import Signature
from seqbench.train import seed_everything

BATCH = 3
LENGTH = 24
OTHER_LENGTHS = (1, 2, 17, 40)

KINDS: Mapping[str, Signature] = {
    "sequence": Signature(in_channels=2, shape=(LENGTH,), out_features=5, target="sequence"),
    "step": Signature(in_channels=2, shape=(LENGTH,), out_features=5, target="step"),
    "number": Signature(in_channels=1, shape=(LENGTH,), out_features=1, target="sequence"),
    "image": Signature(in_channels=2, shape=(16, 14), out_features=5, target="sequence"),
}
"""Every kind of signature: an answer a sequence, an answer a step, one number, images.

Images are not square, and large enough that a kernel of a tenth of their size has some taps.
"""

SEQUENTIAL_MNIST = Signature(in_channels=1, shape=(784,), out_features=10, target="sequence")

_TOLERANCE = 1e-4
"""Of the largest value: what single precision and Fourier transforms may differ by."""


@dataclass(frozen=True)
class Case:
    """A model with one config, for one kind of signature."""

    cls: type[Model]
    preset: str
    config: Any
    kind: str

    @property
    def signature(self) -> Signature:
        """What is asked of the network."""
        return KINDS[self.kind]

    def make(self, seed: int) -> Model:
        """A new network."""
        seed_everything(seed)
        return self.cls(self.config, self.signature)

    @cached_property
    def network(self) -> Model:
        """A network in eval mode, made once."""
        return self.make(0).eval()

    @cached_property
    def refusal(self) -> str:
        """What the model says to refuse the signature; empty if it accepts it.

        Raises:
            Broken: it fails in another way.

        """
        try:
            _ = self.network
        except SeqbenchError as error:
            return error.message
        except Exception as error:
            raise Broken(
                f"preset {self.preset!r}: the signature {self.signature} ends in {describe(error)}",
                "a network, or a refusal with a SeqbenchError",
                "mend what the error names, or refuse what the model does not support by raising "
                "seqbench.errors.ConfigError, as seqbench.nn.checks.check_sequence does for images",
            ) from error
        return ""

    def x(self, length: int | None = None) -> Tensor:
        """A batch of inputs, the same for the same length."""
        shape = self.signature.shape if length is None else (length,)
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(BATCH, self.signature.in_channels, *shape, generator=generator)

    def answer(self, x: Tensor) -> Any:
        """The network's answer, computed as a run evaluates."""
        with torch.inference_mode():
            return self.network(x)


@dataclass(frozen=True)
class ModelSubject:
    """A model with those of its presets that are looked at; ``None`` is all of them."""

    cls: type[Model]
    entry: Entry | None = None
    preset: str | None = None

    @property
    def presets(self) -> Mapping[str, Any]:
        """The configs by name."""
        chosen = presets_of(self.cls)
        return chosen if self.preset is None else {self.preset: chosen[self.preset]}

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every preset for every kind of signature."""
        return tuple(
            Case(self.cls, preset, config, kind)
            for preset, config in self.presets.items()
            for kind in KINDS
        )

    def accepted(self, kinds: Collection[str]) -> list[Case]:
        """The cases of these kinds that the model does not refuse."""
        return [case for case in self.cases if case.kind in kinds and not case.refusal]


def _each(*kinds: str) -> Callable[[Callable[[Case], str]], Callable[[ModelSubject], str]]:
    """Make a rule of a model from one of a single network, for the kinds that it accepts."""

    def rule_of(check: Callable[[Case], str]) -> Callable[[ModelSubject], str]:
        @wraps(check)
        def checked(subject: ModelSubject) -> str:
            cases = subject.accepted(kinds)
            if not cases:
                raise NotApplicable(f"the model refuses signatures of {' and '.join(kinds)}")
            return "; ".join(dict.fromkeys(filter(None, (_located(check, case) for case in cases))))

        return checked

    return rule_of


def _located(check: Callable[[Case], str], case: Case) -> str:
    try:
        return check(case)
    except NotApplicable:
        raise
    except Exception as error:
        broken = as_broken(error)
        where = f"preset {case.preset!r}, {case.kind}: "
        raise Broken(where + broken.found, broken.expected, broken.mend) from error


def _recipes(subject: ModelSubject) -> str:
    """Recipes name presets and a source, and set fields that Config has."""
    cls, presets = subject.cls, presets_of(subject.cls)
    for (task, preset), recipe in cls.recipes.items():
        where = f"the recipe for {task!r} and {preset!r}"
        if preset not in presets:
            raise Broken(
                f"{where} names no preset",
                f"one of {', '.join(presets)}",
                "name the preset that the source trains",
            )
        if not recipe.source:
            raise Broken(f"{where} names no source", "who published it", "fill in `source`")
        try:
            dataclasses.replace(presets[preset], **recipe.model)
            config_from(cls, to_json(presets[preset]) | dict(recipe.model), "config")
        except (TypeError, SeqbenchError) as error:
            raise Broken(
                f"{where} sets what Config does not take: {str(error).splitlines()[0]}",
                f"fields of {cls.Config.__name__}",
                "mend `model` of the recipe",
            ) from error
    return _told(cls.recipes) if cls.recipes else "none"


def _told(recipes: Collection[tuple[str, str]]) -> str:
    """How many there are, and which tasks of theirs are not installed, or misspelt."""
    tasks = registry.entries(registry.TASKS)
    unknown = []
    for task in sorted({task for task, _ in recipes} - set(tasks)):
        near = difflib.get_close_matches(task, tasks, n=1, cutoff=0.8)
        unknown.append(f"{task} (did you mean {near[0]}?)" if near else task)
    missing = f"; no task here is called {', '.join(unknown)}" if unknown else ""
    return f"{len(recipes)} published{missing}"


def _signatures(subject: ModelSubject) -> str:
    """Every kind of signature is accepted, or refused with a SeqbenchError; not all are refused."""
    accepted: dict[str, list[str]] = {preset: [] for preset in subject.presets}
    for case in subject.accepted(KINDS):
        accepted[case.preset].append(case.kind)
    for case in subject.cases:
        if not accepted[case.preset]:
            raise Broken(
                f"preset {case.preset!r}: every signature is refused: {case.refusal}",
                "a network for at least one kind of task",
                "refuse only what the network cannot read or answer",
            )
    sets = dict.fromkeys(", ".join(kinds) for kinds in accepted.values())
    refused = [kind for kind in KINDS if not subject.accepted([kind])]
    said = f"accepts {' or, in other presets, '.join(sets)}"
    return f"{said}; refuses {', '.join(refused)}" if refused else said


@_each(*KINDS)
def _shapes(case: Case) -> str:
    """(batch, out), or (batch, out, time) for target step: float32, finite, in training too."""
    x = case.x()
    try:
        answers = {"": case.answer(x), "in training, ": case.make(0).train()(x)}
    except SeqbenchError as error:
        raise Broken(
            f"forward refuses what __init__ accepts: {error.message}",
            "an answer to every signature that is not refused",
            "write forward for it, or refuse it in __init__ by raising seqbench.errors.ConfigError",
        ) from error
    for when, y in answers.items():
        _check_output(case, x, y, when)
    if not torch.equal(x, case.x()):
        raise Broken("forward changes its input", "x as it was", "do nothing to x in place")
    return ""


def _check_output(case: Case, x: Tensor, y: Any, when: str = "") -> None:
    if not isinstance(y, Tensor):
        raise Broken(
            f"{when}forward gives a {type(y).__name__}", "one tensor", "return the answers alone"
        )
    steps = x.shape[2:] if case.signature.target == "step" else ()
    expected = (len(x), case.signature.out_features, *steps)
    if tuple(y.shape) != expected:
        raise Broken(
            f"{when}an input of shape {tuple(x.shape)} gives an output of shape {tuple(y.shape)}",
            f"{expected}",
            "answer (batch, out_features), or (batch, out_features, time) where "
            "signature.target is 'step'",
        )
    if y.dtype != torch.float32:
        raise Broken(
            f"{when}the output is {y.dtype}", "torch.float32", "compute in the input's dtype"
        )
    if not y.isfinite().all():
        raise Broken(
            f"{when}the output for shape {tuple(x.shape)} holds infinities or NaN",
            "finite numbers",
            "look for divisions by zero, logarithms and overflowing exponentials",
        )


@_each("sequence", "step")
def _lengths(case: Case) -> str:
    """Inputs of another length are answered, or refused with a SeqbenchError."""
    refused = []
    for length in OTHER_LENGTHS:
        try:
            x = case.x(length)
            _check_output(case, x, case.answer(x))
        except SeqbenchError:
            refused.append(str(length))
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"an input of {length} steps, made for {LENGTH}, ends in {describe(error)}",
                "an answer, or a refusal with a SeqbenchError",
                "raise seqbench.errors.ModelError where x.shape[-1] is not signature.length, or "
                "make layers that take any length",
            ) from error
    if len(refused) == len(OTHER_LENGTHS):
        return "refuses other lengths"
    return f"refuses {', '.join(refused)} steps" if refused else "answers other lengths"


@_each("sequence", "step", "image")
def _seed(case: Case) -> str:
    """One seed gives one network and, in training, one output; another seed gives another."""
    first, second, other = (case.make(seed) for seed in (1, 1, 2))
    state = first.state_dict()
    _same_state(
        state,
        second.state_dict(),
        "differs between two networks made under one seed",
        "draw initial values from torch's global generator, and set no seed",
    )
    if all(torch.equal(value, other.state_dict()[key]) for key, value in state.items()):
        raise Broken(
            "networks made under two seeds are equal",
            "initial values that follow the seed",
            "draw from torch's global generator, and set no seed",
        )
    one, same = (_trained_answer(network, case.x()) for network in (first, second))
    _close(
        same,
        one,
        "in training, two answers of equal networks under one seed",
        "draw what is random in forward from torch's global generator",
    )
    return ""


def _trained_answer(network: Model, x: Tensor) -> Tensor:
    seed_everything(3)
    y: Tensor = network.train()(x)
    return y


def _same_state(
    state: Mapping[str, Tensor], other: Mapping[str, Tensor], found: str, mend: str
) -> None:
    for name, value in state.items():
        if name not in other or not torch.equal(value, other[name]):
            raise Broken(f"{name!r} {found}", "the same values", mend)


def _close(got: Tensor, expected: Tensor, what: str, mend: str) -> None:
    """Equal but for rounding, which is relative to the largest value."""
    difference = (got - expected).abs().max().item()
    scale = expected.abs().max().item()
    if not difference <= _TOLERANCE * scale + 1e-6:  # nor may it be NaN
        raise Broken(
            f"{what} differ by {difference:.2g}", f"no difference at values up to {scale:.2g}", mend
        )


@_each("sequence", "step", "image")
def _batch(case: Case) -> str:
    """In eval, an example's answer is the same alone and among others."""
    x = case.x()
    together = case.answer(x)
    for i in range(BATCH):
        _close(
            case.answer(x[i : i + 1]),
            together[i : i + 1],
            "the answers to an example alone and in a batch",
            "let nothing in eval mix examples: no mean or norm over the batch, no squeeze() "
            "without a dimension",
        )
    return ""


@_each("sequence", "step", "image")
def _modes(case: Case) -> str:
    """In eval nothing is random and nothing is learned; forward leaves the mode alone."""
    network, x = case.make(0).eval(), case.x()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        answers = network(x), network(x)
    _close(
        *answers,
        "in eval, two answers to one input",
        "use nn.Dropout, or functional.dropout(x, p, self.training)",
    )
    _same_state(
        before,
        network.state_dict(),
        "changes when the network answers in eval",
        "change buffers only where self.training is true",
    )
    for training in (True, False):
        network.train(training)
        network(x)
        if wrong := [name for name, part in network.named_modules() if part.training != training]:
            mode = "train" if training else "eval"
            raise Broken(
                f"after {mode}() and forward, {wrong[0] or 'the network'!r} is in the other mode",
                f"every part in {mode} mode",
                "call neither train() nor eval() within the network",
            )
    return ""


@_each("sequence", "step", "image")
def _gradients(case: Case) -> str:
    """The gradient of loss and penalty reaches every parameter."""
    case.answer(case.x())  # as a run does: what eval keeps must not be in the way
    network = case.make(0).eval()
    with torch.inference_mode():
        network(case.x())
    y = network(case.x())
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    ((y * weights).sum() + _penalty(network)).backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None or not parameter.grad.any():
            raise Broken(
                f"no gradient reaches the parameter {name!r}",
                "one that is not zero",
                "use it in forward without detach(), make it a buffer, or set requires_grad=False",
            )
        if not parameter.grad.isfinite().all():
            raise Broken(
                f"the gradient of {name!r} holds infinities or NaN",
                "finite numbers",
                "look for square roots, norms and divisions at zero",
            )
    return ""


def _penalty(network: Model) -> Tensor:
    penalty = network.penalty()
    if penalty.shape != () or not penalty.isfinite():
        raise Broken(
            f"penalty() gives {penalty.detach()}",
            "one finite number, as a tensor without dimensions",
            "add up what is penalised, and look for logarithms and divisions by zero",
        )
    return penalty


@_each("sequence", "step", "image")
def _groups(case: Case) -> str:
    """Every trainable parameter is in exactly one group of ``param_groups``."""
    network = case.network
    counts = Counter(id(p) for group in network.param_groups() for p in group.parameters)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and counts[id(parameter)] != 1:
            raise Broken(
                f"param_groups() holds {name!r} {counts[id(parameter)]} times",
                "every trainable parameter exactly once",
                "list the parameters that are special, and give the others to decay_groups()",
            )
    return ""


@_each("sequence", "step", "image")
def _state(case: Case) -> str:
    """A network with another's state dict gives the other's answer, whatever it did before."""
    trained, copy = case.make(4).train(), case.make(5).eval()
    trained(case.x())  # running statistics are state too
    with torch.inference_mode():
        copy(case.x())
    copy.load_state_dict(trained.state_dict())
    with torch.inference_mode():
        answers = copy.eval()(case.x()), trained.eval()(case.x())
    mend = (
        "register what is not a parameter by register_buffer, counters too, and keep nothing that "
        "is computed from weights when they change"
    )
    what = "the answers of a network and of another with its state dict"
    _close(*answers, what, mend)
    answers = _trained_answer(copy, case.x()), _trained_answer(trained, case.x())
    _close(*answers, f"in training, {what}", mend)
    return ""


@_each("step")
def _causality(case: Case) -> str:
    """Changing x after step t leaves y up to step t alone, for every t; it changes y after it."""
    if not case.network.causal:
        raise NotApplicable("the model says causal = False")
    x = case.x()
    other = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    y = case.answer(x)
    for t in range(LENGTH - 1):
        z = case.answer(torch.cat([x[..., : t + 1], other[..., t + 1 :]], dim=-1))
        _close(
            z[..., : t + 1],
            y[..., : t + 1],
            f"the answers up to step {t}, before and after a change of x from step {t + 1} on,",
            "pad on the left only and look at no later step, or say causal = False in the class",
        )
        if t == LENGTH // 2 and torch.equal(z, y):
            raise Broken(
                f"a change of x from step {t + 1} on changes nothing",
                "answers that depend on the input",
                "look for a constant output: a dead activation, a mask of zeros",
            )
    return "no answer depends on a later step"


@_each("sequence", "step")
def _rates(case: Case) -> str:
    """``at_rate`` gives a network of the same parameters; at rate 1 the same answers."""
    network, x = case.network, case.x()
    if not isinstance(network, Adaptable):
        raise NotApplicable("there is no at_rate: at other sampling rates it is used as it is")
    before = case.answer(x)
    mend = "give a network that shares the parameters, as seqbench.nn.continuous.at_rate does"
    for rate in (2.0, 1.0):
        other = network.at_rate(rate)
        if not isinstance(other, Model):
            raise Broken(f"at_rate({rate}) gives a {type(other).__name__}", "a network", mend)
        mine, theirs = ({*map(id, n.parameters())} for n in (network, other))
        if mine != theirs:
            raise Broken(f"at_rate({rate}) has parameters of its own", "those of the network", mend)
    longer = case.x(2 * LENGTH)
    with torch.inference_mode():
        _check_output(case, longer, network.at_rate(2.0)(longer), "at twice the rate, ")
        _close(network.at_rate(1.0)(x), before, "the answers before and after at_rate(1.0)", mend)
    _close(case.answer(x), before, "the answers before and after asking for at_rate", mend)
    return "at_rate shares the parameters"


@_each("sequence", "step", "image")
def _learned(case: Case) -> str:
    """What ``learned`` tells are finite numbers in a list, by name."""
    told = case.network.learned()
    for name, values in told.items():
        listed = isinstance(values, Sequence) and all(isinstance(v, float | int) for v in values)
        if not listed or not all(math.isfinite(value) for value in values):
            raise Broken(
                f"learned() tells {name!r} as {values!r}",
                "a list of finite numbers, one a layer",
                "give lists of Python's numbers, as by tensor.tolist()",
            )
    return f"tells {', '.join(told)}" if told else "tells nothing"


def _parameters(subject: ModelSubject) -> str:
    """There are as many trainable parameters as stated, all of them from the beginning."""
    for case in subject.accepted(("sequence", "step", "image")):
        network = case.make(0)
        before = _count(network)
        network(case.x())
        if (after := _count(network)) != before:
            raise Broken(
                f"preset {case.preset!r}, {case.kind}: {before or 'an unknown number of'} "
                f"trainable parameters before the first forward, {after} after it",
                "all of them from the beginning",
                "make every parameter in __init__, with sizes from the signature",
            )
    stated = subject.cls.parameter_counts
    for preset in stated:
        _check_count(subject, preset, stated[preset])
    if stated:
        return f"as stated for {', '.join(stated)}"
    counts = []
    for preset, config in subject.presets.items():
        with contextlib.suppress(SeqbenchError):  # it may refuse images, or so many steps
            count = parameters_of(subject.cls(config, SEQUENTIAL_MNIST))
            counts.append(f"{preset} {count:,}")
    counted = f"{', '.join(counts)} on sequential MNIST; " if counts else ""
    return f"{counted}no number is stated"


def _check_count(subject: ModelSubject, preset: str, stated: int) -> None:
    if preset not in presets_of(subject.cls):
        raise Broken(
            f"parameter_counts names {preset!r}, which is no preset",
            f"one of {', '.join(presets_of(subject.cls))}",
            "name the preset whose size is stated",
        )
    if preset not in subject.presets:
        return
    measured = parameters_of(subject.cls(subject.presets[preset], SEQUENTIAL_MNIST))
    if measured != stated:
        raise Broken(
            f"the preset {preset!r} has {measured:,} parameters on sequential MNIST",
            f"the {stated:,} of parameter_counts",
            "mend the network or the number",
        )


def _count(network: Model) -> int | None:
    """Trainable parameters, unless the size of one is not known yet."""
    if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
        return None
    return parameters_of(network)


MODEL_RULES: tuple[Rule[ModelSubject], ...] = (
    Rule("import", imported),
    Rule("config", configured, needed=True),
    Rule("recipes", _recipes),
    Rule("signatures", _signatures, needed=True),
    Rule("shapes", _shapes, needed=True),
    Rule("parameters", _parameters),
    Rule("lengths", _lengths),
    Rule("seed", _seed),
    Rule("modes", _modes),
    Rule("batch", _batch),
    Rule("gradients", _gradients),
    Rule("groups", _groups),
    Rule("state", _state),
    Rule("causality", _causality),
    Rule("rates", _rates),
    Rule("learned", _learned),
)
