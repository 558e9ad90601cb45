"""For every rule of a model there is one that breaks it, which the rule finds and names."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from seqbench.conformance.models import MODEL_RULES, ModelSubject
from seqbench.conformance.rule import State
from seqbench.conformance.suite import hold, named
from seqbench.errors import ConfigError, ConformanceError, ModelError
from seqbench.from_file import add_model
from seqbench.model import Model, ParamGroup, Recipe
from seqbench.nn.checks import check_sequence
from seqbench.nn.residual import ReadOut
from seqbench.spec import TrainSpec
from seqbench.testing import check_model


@dataclass(frozen=True)
class Settings:
    """The sound model's config."""

    width: int = 4


class Sound(Model):
    """A causal running mean, mixed linearly: it keeps every promise."""

    Config: ClassVar = Settings
    presets: ClassVar = {"small": Settings()}
    parameter_counts: ClassVar = {"small": 2 * 4 + 5 * 10}

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        check_sequence("sound", signature)
        self.mix = nn.Conv1d(signature.in_channels, config.width, 1)
        self.head = ReadOut(config.width, signature)

    def forward(self, x):
        return self.head(self.mix(x).cumsum(-1).tanh())


# config


@dataclass
class Thawed:
    width: int = 4


@dataclass(frozen=True)
class Demanding:
    width: int


@dataclass(frozen=True)
class Worded:
    width: int = "many"


@dataclass(frozen=True)
class Forgetful:
    width: int = 4
    sizes: Any = (1, 2)


@dataclass(frozen=True)
class Opaque:
    width: int = 4
    scale: Any = torch.relu


@dataclass(frozen=True)
class Endless:
    width: int = 4
    clip: float = math.inf


@dataclass(frozen=True)
class Optional:
    width: int | None = 4


class MutableConfig(Sound):
    Config: ClassVar = Thawed
    presets: ClassVar = {}


class NoDefault(Sound):
    Config: ClassVar = Demanding
    presets: ClassVar = {}


class NoDefaultBehindPresets(Sound):
    Config: ClassVar = Demanding
    presets: ClassVar = {"small": Demanding(width=4)}


class WrongDefaultBehindPresets(Sound):
    Config: ClassVar = Worded
    presets: ClassVar = {"small": Worded(width=4)}


class ChangesInJson(Sound):
    Config: ClassVar = Forgetful
    presets: ClassVar = {"small": Forgetful()}


class NotInJson(Sound):
    Config: ClassVar = Opaque
    presets: ClassVar = {"small": Opaque()}


class NotFiniteInJson(Sound):
    Config: ClassVar = Endless
    presets: ClassVar = {}


class NoneIsNotTheDefault(Sound):
    Config: ClassVar = Optional
    presets: ClassVar = {"small": Optional(width=None)}


class VersionInWords(Sound):
    version: ClassVar = "1.2"


class PresetOfAnotherKind(Sound):
    presets: ClassVar = {"small": Settings(), "large": 64}


class PresetWithColon(Sound):
    presets: ClassVar = {"small:er": Settings()}


# recipes


class RecipeOfNothing(Sound):
    recipes: ClassVar = {("smnist", "large"): Recipe("a paper", TrainSpec())}


class RecipeFromNowhere(Sound):
    recipes: ClassVar = {("smnist", "small"): Recipe("", TrainSpec())}


class RecipeSetsNothing(Sound):
    recipes: ClassVar = {("smnist", "small"): Recipe("a paper", TrainSpec(), {"depth": 3})}


class RecipeSetsAnotherType(Sound):
    recipes: ClassVar = {("smnist", "small"): Recipe("a paper", TrainSpec(), {"width": "wide"})}


# signatures, shapes, parameters, lengths


class BreaksOnImages(Sound):
    def __init__(self, config, signature) -> None:
        (self.length,) = signature.shape
        super().__init__(config, signature)


class RefusesAll(Sound):
    def __init__(self, *_) -> None:
        raise ConfigError("not today")


class WrongShape(Sound):
    def forward(self, x):
        return super().forward(x)[:, :3]


class OneAnswerForSteps(Sound):
    def forward(self, x):
        y = super().forward(x)
        return y if self.signature.target == "sequence" else y[..., -1]


class LosesOneOutput(Sound):
    def forward(self, x):
        return super().forward(x).squeeze()


class ReturnsMore(Sound):
    def forward(self, x):
        return super().forward(x), x


class ReturnsMoreInTraining(Sound):
    def forward(self, x):
        y = super().forward(x)
        return (y, x) if self.training else y


class OtherShapeInTraining(Sound):
    def forward(self, x):
        y = super().forward(x)
        return y[:, :3] if self.training else y


class RefusesLate(Sound):
    def forward(self, x):
        if self.signature.target == "step":
            raise ConfigError("no answers at every step")
        return super().forward(x)


class NoForward(Model):
    Config: ClassVar = Settings


class WritesToItsInput(Sound):
    def forward(self, x):
        return super().forward(x.mul_(2))


class Raises(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.head = nn.Linear(7, 5)

    def forward(self, x):
        return self.head(self.mix(x))


class Double(Sound):
    def forward(self, x):
        return super().forward(x).double()


class NotFinite(Sound):
    def forward(self, x):
        return super().forward(x).abs().neg().log()


class LateParameter(Sound):
    def forward(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(1))
        return super().forward(x) * self.late


class Lazy(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.mix = nn.LazyConv1d(config.width, 1)


class WrongCount(Sound):
    parameter_counts: ClassVar = {"small": 70_000}


class CountOfNothing(Sound):
    parameter_counts: ClassVar = {"huge": 70_000}


class OneLength(Sound):
    parameter_counts: ClassVar = {}

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.gain = nn.Parameter(torch.randn(signature.length))

    def forward(self, x):
        return super().forward(x * self.gain)


# seed, modes, batch


class Unseeded(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        torch.seed()
        nn.init.normal_(self.mix.weight)


class SeedsItself(Sound):
    def __init__(self, config, signature) -> None:
        torch.manual_seed(0)
        super().__init__(config, signature)


class UnseededForward(Sound):
    def forward(self, x):
        noise = np.random.default_rng().normal() if self.training else 0.0
        return super().forward(x + noise)


class AlwaysDrops(Sound):
    def forward(self, x):
        return super().forward(functional.dropout(x))


class LearnsInEval(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return super().forward(x)


class SwitchesMode(Sound):
    def forward(self, x):
        self.head.eval()
        return super().forward(x)


class MixesExamples(Sound):
    def forward(self, x):
        return super().forward(x - x.mean(0))


# gradients, groups, state, causality


class UnusedParameter(Sound):
    parameter_counts: ClassVar = {}

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.idle = nn.Parameter(torch.ones(3))


class InfiniteGradient(Sound):
    parameter_counts: ClassVar = {}

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return super().forward(x) + self.gain.sqrt()


class PenaltyNotFinite(Sound):
    def penalty(self):
        return self.mix.bias.detach().mul(0).log().sum()


class PenaltyEach(Sound):
    def penalty(self):
        return self.mix.bias.square()


class ForgetsAGroup(Sound):
    def param_groups(self):
        return [ParamGroup(list(self.mix.parameters()))]


class GroupsTwice(Sound):
    def param_groups(self):
        return [ParamGroup([*self.parameters(), self.mix.bias])]


class HiddenState(Sound):
    """Its random scale is no buffer, so a state dict does not carry it."""

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.scale = torch.rand(())

    def forward(self, x):
        return super().forward(x) * self.scale


class KeepsOldWeights(Sound):
    """What it computed from its weights, it keeps when they change."""

    kept = None

    def forward(self, x):
        if torch.is_grad_enabled():
            return super().forward(x)
        if self.kept is None:
            self.kept = self.mix.weight.clone()
        mixed = functional.conv1d(x, self.kept, self.mix.bias)
        return self.head(mixed.cumsum(-1).tanh())


class CountsItsSteps(Sound):
    """How far it is in training, it counts in a number that no state dict has."""

    steps = 0

    def forward(self, x):
        self.steps += self.training
        noise = torch.randn_like(x) / (1 + self.steps) if self.training else 0.0
        return super().forward(x + noise)


class LooksAhead(Sound):
    def forward(self, x):
        return self.head(self.mix(x).mean(-1, keepdim=True) + self.mix(x))


class LooksAheadAtOddSteps(Sound):
    """As by an upsampling that is late by one."""

    def forward(self, x):
        y = self.mix(x)
        pairs = y[..., ::2].repeat_interleave(2, dim=-1)
        late = torch.cat([pairs, y[..., -1:]], dim=-1)[..., 1 : x.shape[-1] + 1]
        return self.head(y.cumsum(-1) + late)


class LooksAheadBetweenChannels(Sound):
    """At what stays if all channels go up alike."""

    def forward(self, x):
        contrast = x - x.mean(1, keepdim=True)
        ahead = contrast.roll(-1, dims=-1).abs().sum(1, keepdim=True)
        return self.head(self.mix(x).cumsum(-1) + ahead)


class Deaf(Sound):
    def forward(self, x):
        return super().forward(torch.ones_like(x))


# rates, learned


class OwnParametersAtARate(Sound):
    def at_rate(self, rate):
        assert rate > 0
        return copy.deepcopy(self)


class NoNetworkAtARate(Sound):
    def at_rate(self, rate):
        assert rate > 0


class OtherAnswersAtRateOne(Sound):
    gain = 1.0

    def at_rate(self, rate):
        other = copy.copy(self)
        other.gain = 2.0 * rate
        return other

    def forward(self, x):
        return self.gain * super().forward(x)


class RateStays(Sound):
    gain = 1.0

    def at_rate(self, rate):
        self.gain *= rate
        return self

    def forward(self, x):
        return self.gain * super().forward(x)


class LearnedNumber(Sound):
    def learned(self):
        return {"size": 0.3}


class LearnedNotFinite(Sound):
    def learned(self):
        return {"size": [math.nan]}


BROKEN = {
    MutableConfig: ("config", "a frozen dataclass", "@dataclass(frozen=True)"),
    NoDefault: ("config", "Config() is refused", "give every field one"),
    NoDefaultBehindPresets: ("config", "Config() is refused", "give every field one"),
    WrongDefaultBehindPresets: ("config", "config.width cannot be 'many'", "annotated types"),
    ChangesInJson: ("config", "comes back from JSON as", "tuples and dataclasses"),
    NotInJson: ("config", "does not go through JSON", "tuples and dataclasses"),
    NotFiniteInJson: ("config", "does not go through JSON: ValueError: Out of range", "finite"),
    NoneIsNotTheDefault: ("config", "comes back from JSON as Optional(width=4)", "the default"),
    VersionInWords: ("config", "version is '1.2'", "integers"),
    PresetOfAnotherKind: ("config", "the preset 'large' is 64", "Config(...)"),
    PresetWithColon: ("config", "called 'small:er'", "rename"),
    RecipeOfNothing: ("recipes", "names no preset; expected one of small", "name the preset"),
    RecipeFromNowhere: ("recipes", "names no source", "fill in"),
    RecipeSetsNothing: ("recipes", "sets what Config does not take", "mend `model`"),
    RecipeSetsAnotherType: ("recipes", "config.width cannot be 'wide'", "mend `model`"),
    BreaksOnImages: ("signatures", "ends in ValueError", "raising seqbench.errors.ConfigError"),
    RefusesAll: ("signatures", "every signature is refused: not today", "refuse only"),
    WrongShape: ("shapes", "output of shape (3, 3); expected (3, 5)", "answer (batch,"),
    OneAnswerForSteps: ("shapes", "step: an input of shape (3, 2, 24)", "'step'"),
    LosesOneOutput: ("shapes", "number: an input of shape (3, 1, 24)", "answer (batch,"),
    ReturnsMore: ("shapes", "sequence: forward gives a tuple", "return the answers alone"),
    ReturnsMoreInTraining: ("shapes", "in training, forward gives a tuple", "return the answers"),
    OtherShapeInTraining: ("shapes", "in training, an input of shape (3, 2, 24)", "answer (batch,"),
    RefusesLate: ("shapes", "accepts: no answers at every step", "refuse it in __init__"),
    NoForward: ("shapes", "NoForward has no forward", "write forward"),
    WritesToItsInput: ("shapes", "forward changes its input", "in place"),
    Raises: ("shapes", "sequence: it ends in RuntimeError: mat1", "mend what the error names"),
    Double: ("shapes", "the output is torch.float64", "the input's dtype"),
    NotFinite: ("shapes", "infinities or NaN", "logarithms"),
    LateParameter: ("parameters", "before the first forward", "make every parameter in __init__"),
    Lazy: ("parameters", "an unknown number of trainable", "make every parameter in __init__"),
    WrongCount: ("parameters", "has 58 parameters on sequential MNIST", "the number"),
    CountOfNothing: ("parameters", "names 'huge', which is no preset", "name the preset"),
    OneLength: ("lengths", "an input of 2 steps, made for 24, ends in RuntimeError", "ModelError"),
    Unseeded: ("seed", "differs between two networks made under one seed", "set no seed"),
    SeedsItself: ("seed", "made under two seeds are equal", "set no seed"),
    UnseededForward: ("seed", "two answers of equal networks", "torch's global generator"),
    AlwaysDrops: ("modes", "in eval, two answers to one input", "nn.Dropout"),
    LearnsInEval: ("modes", "'calls' changes when the network answers", "self.training"),
    SwitchesMode: ("modes", "'head' is in the other mode", "neither train() nor eval()"),
    MixesExamples: ("batch", "an example alone and in a batch", "no mean or norm over the batch"),
    UnusedParameter: ("gradients", "reaches the parameter 'idle'", "use it in forward"),
    InfiniteGradient: ("gradients", "the gradient of 'gain' holds", "square roots"),
    PenaltyNotFinite: ("gradients", "penalty() gives -inf", "logarithms"),
    PenaltyEach: ("gradients", "penalty() gives tensor([", "add up"),
    ForgetsAGroup: ("groups", "'head.linear.weight' 0 times", "decay_groups"),
    GroupsTwice: ("groups", "'mix.bias' 2 times", "decay_groups"),
    HiddenState: ("state", "another with its state dict", "register_buffer"),
    KeepsOldWeights: ("state", "another with its state dict", "keep nothing"),
    CountsItsSteps: ("state", "in training, the answers of a network and of another", "counters"),
    LooksAhead: ("causality", "the answers up to step 0, before and after", "causal = False"),
    LooksAheadAtOddSteps: ("causality", "the answers up to step 1,", "causal = False"),
    LooksAheadBetweenChannels: ("causality", "the answers up to step 0,", "causal = False"),
    Deaf: ("causality", "changes nothing", "a constant output"),
    OwnParametersAtARate: ("rates", "at_rate(2.0) has parameters of its own", "shares"),
    NoNetworkAtARate: ("rates", "at_rate(2.0) gives a NoneType", "shares"),
    OtherAnswersAtRateOne: ("rates", "before and after at_rate(1.0)", "shares"),
    RateStays: ("rates", "the answers before and after", "shares"),
    LearnedNumber: ("learned", "learned() tells 'size' as 0.3", "tensor.tolist()"),
    LearnedNotFinite: ("learned", "learned() tells 'size' as [nan]", "tensor.tolist()"),
}


def test_a_sound_model_passes() -> None:
    """A model that keeps every promise passes, with all presets and with one."""
    check_model(Sound)
    check_model(Sound, "small")


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_named(broken: type[Model]) -> None:
    """The first rule that fails is the one that is broken; it says what is wrong and what to do."""
    rule, found, mend = BROKEN[broken]
    failed = [each for each in hold(ModelSubject(broken)) if each.state is State.FAILED]
    assert failed[0].rule == rule
    assert found in failed[0].text
    assert "; expected " in failed[0].text
    assert mend in failed[0].mend


def test_all_that_is_broken_is_raised_together() -> None:
    """In a plugin's tests, one error names the model and every broken rule, with what mends it."""

    class Twice(WrongCount, MixesExamples):
        pass

    with pytest.raises(ConformanceError) as caught:
        check_model(Twice)
    broken = ["parameters", "batch"]
    message, hint = caught.value.message.splitlines(), caught.value.hint.splitlines()
    assert [line.split("'")[1] for line in message] == broken
    assert [line.split(":")[0].strip() for line in hint] == broken
    assert message[0].startswith("Twice breaks the rule 'parameters': the preset 'small' has 58")


def test_an_error_is_shown_at_the_models_own_line() -> None:
    """Not where torch raises it."""
    (failed,) = [each for each in hold(ModelSubject(Raises)) if each.state is State.FAILED]
    assert f"({Path(__file__).name}, line " in failed.text


IN_FILES = {
    "import": (
        "import numpy as np; np.random.rand()",
        "changes the global generators of numpy.random",
        "draw in __init__",
    ),
    "also import": (
        "import sys; assert 'pytest' in sys.modules",
        "in a new process it ends in",
        "installed packages",
    ),
}


@pytest.mark.parametrize("case", IN_FILES)
def test_what_an_import_does_is_seen(case: str, tmp_path: Path) -> None:
    """A module that draws at its import, or cannot be imported elsewhere, is found by `import`."""
    statement, found, mend = IN_FILES[case]
    path = tmp_path / "drawing.py"
    path.write_text(
        f"{statement}\nfrom seqbench.model import Model\nclass Net(Model):\n    pass\n",
        encoding="utf-8",
    )
    outcome = next(hold(named(add_model(str(path)))))
    assert (outcome.rule, outcome.state) == ("import", State.FAILED)
    assert found in outcome.text
    assert mend in outcome.mend


def test_every_rule_has_its_wrong_model() -> None:
    """No rule is left untested."""
    assert {rule.name for rule in MODEL_RULES} == {*(row[0] for row in BROKEN.values()), "import"}


def test_what_is_not_claimed_is_not_asked() -> None:
    """A model may look ahead and refuse kinds of signature and other lengths, if it says so."""

    class Modest(LooksAhead):
        causal = False

        def forward(self, x):
            if x.shape[-1] != self.signature.length:
                raise ModelError(f"{x.shape[-1]} steps; expected {self.signature.length}")
            return super().forward(x)

    class NoSteps(Modest):
        def __init__(self, config, signature) -> None:
            super().__init__(config, signature)
            if signature.target == "step":
                raise ConfigError("answers sequences alone")

    said = {each.rule: each for each in hold(ModelSubject(Modest))}
    assert State.FAILED not in {each.state for each in said.values()}
    assert said["causality"].state is State.SKIPPED
    assert said["lengths"].text == "refuses other lengths"
    said = {each.rule: each for each in hold(ModelSubject(NoSteps))}
    assert State.FAILED not in {each.state for each in said.values()}
    assert said["signatures"].text == "accepts sequence, number; refuses step, image"
    assert said["causality"].state is State.SKIPPED


def test_presets_may_be_for_different_kinds_of_tasks() -> None:
    """One for sequences, another for images; a preset for nothing is broken."""

    class Both(Sound):
        presets: ClassVar = {"line": Settings(4), "plane": Settings(5)}
        parameter_counts: ClassVar = {}

        def __init__(self, config, signature) -> None:
            Model.__init__(self, config, signature)
            if (len(signature.shape) == 1) != (config.width == 4):
                raise ConfigError("of the other kind")
            self.mix = nn.Conv1d(signature.in_channels, config.width, 1)
            self.head = ReadOut(config.width, signature)

        def forward(self, x):
            return self.head(self.mix(x.flatten(2)))

    class Neither(Both):
        presets: ClassVar = {**Both.presets, "wide": Settings(6)}

        def __init__(self, config, signature) -> None:
            if config.width == 6:
                raise ConfigError("not yet")
            super().__init__(config, signature)

    said = {each.rule: each for each in hold(ModelSubject(Both))}
    assert State.FAILED not in {each.state for each in said.values()}
    accepted = "accepts sequence, step, number or, in other presets, image"
    assert said["signatures"].text == accepted
    said = {each.rule: each for each in hold(ModelSubject(Neither))}
    assert "preset 'wide': every signature is refused: not yet" in said["signatures"].text


def test_norms_over_the_channels_of_a_step_are_causal() -> None:
    """A step's own channels may be compared, whatever is the same in all of them."""

    class Normed(Sound):
        def forward(self, x):
            return super().forward(functional.normalize(x - x.mean(1, keepdim=True), dim=1))

    check_model(Normed)


def test_a_recipe_for_a_task_that_is_not_here_is_named() -> None:
    """It may be in a plugin that is not installed, or misspelt."""

    class Misspelt(Sound):
        recipes: ClassVar = {
            (task, "small"): Recipe("a paper", TrainSpec()) for task in ("smist", "elsewhere")
        }

    said = {each.rule: each for each in hold(ModelSubject(Misspelt))}
    assert said["recipes"].state is State.OK
    assert said["recipes"].text == (
        "2 published; no task here is called elsewhere, smist (did you mean smnist?)"
    )


def test_one_needed_rule_speaks_for_those_after_it() -> None:
    """Without a network of the right shape nothing else is looked at, and that is said once."""
    last = list(hold(ModelSubject(WrongShape)))[-1]
    assert (last.rule, last.state) == ("the others", State.SKIPPED)
    assert "they take 'shapes'" in last.text
    assert "causality" in last.text
