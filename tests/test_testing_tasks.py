"""For every rule of a task there is one that breaks it, which the rule finds and names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from seqbench import cli, registry
from seqbench.conformance.rule import State
from seqbench.conformance.suite import hold, named
from seqbench.conformance.tasks import TASK_RULES, TaskSubject
from seqbench.errors import ConformanceError, DataError
from seqbench.spec import Signature
from seqbench.task import IGNORED, FitData, Source, Split, Task, load_task
from seqbench.tasks._images import ImageTask
from seqbench.testing import check_task

BUILT_IN = [n for n, e in registry.entries(registry.TASKS).items() if e.distribution == "seqbench"]

SIZES = {"train": (0, 400), "val": (1, 100), "test": (2, 100)}


@dataclass(frozen=True)
class Settings:
    """The sound task's config."""

    length: int = 12


class Sound(Task):
    """Which of four bytes comes first? It keeps every promise."""

    name = "sound"
    Config: ClassVar = Settings
    target = "sequence"

    @property
    def signature(self) -> Signature:
        return Signature(
            in_channels=1, shape=(self.config.length,), out_features=4, target=self.target
        )

    def fit_data(self) -> FitData:
        return FitData(self.split("train"), self.split("val"))

    def test_data(self) -> Split:
        return self.split("test")

    def split(self, name: str) -> Split:
        return Split(*self.arrays(name), Source("0" * 64, official=True))

    def arrays(self, name: str):
        seed, n = SIZES[name]
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(0, 4, (n, self.config.length), generator=generator, dtype=torch.uint8)
        return x, x[:, 0].clone()

    def encode(self, x):
        return x[:, None].float() / 4


class SoundSteps(Sound):
    """Which byte is it, at every step but the first, at which nothing is asked?"""

    target = "step"

    def arrays(self, name: str):
        x, _ = super().arrays(name)
        y = x.to(torch.int16)
        y[:, 0] = IGNORED
        return x, y


class SoundNumbers(Sound):
    """What is the mean?"""

    metric = "mse"
    higher_is_better = False

    @property
    def signature(self) -> Signature:
        return super().signature.model_copy(update={"out_features": 1})

    def arrays(self, name: str):
        x, _ = super().arrays(name)
        return x, x.float().mean(1)

    def loss(self, y_hat, y):
        return functional.mse_loss(y_hat[:, 0], y)

    def score(self, y_hat, y):
        return (y_hat[:, 0] - y).square()


# config, splits, fingerprints


@dataclass
class Thawed:
    length: int = 12


class MutableConfig(Sound):
    Config: ClassVar = Thawed


class FewerTargets(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y[1:]


class NoExamples(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x[:0], y[:0]


class View(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x.repeat(1, 2)[:, ::2], y


class DrawsAnew(Sound):
    def arrays(self, name: str):
        x = torch.randint(0, 4, (SIZES[name][1], self.config.length), dtype=torch.uint8)
        return x, x[:, 0].clone()


# encode, labels, balance, disjoint


class NoChannel(Sound):
    def encode(self, x):
        return x.float()


class Double(Sound):
    def encode(self, x):
        return super().encode(x).double()


class NotFinite(Sound):
    def encode(self, x):
        return super().encode(x) / 0


class NormalisesBatches(Sound):
    def encode(self, x):
        x = super().encode(x)
        return x - x.mean()


class KeepsEncoded(Sound):
    """What it made in inference mode cannot be trained on."""

    kept: ClassVar = {}

    def encode(self, x):
        return self.kept.setdefault(x.numpy().tobytes(), super().encode(x))


class CountsFromOne(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y + 1


class ClassesInARow(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y[:, None]


class AsksNothing(SoundSteps):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        y[3] = IGNORED
        return x, y


class NumbersNotFinite(SoundNumbers):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y / 0


class OneClassUnseen(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y if name == "test" else y.clamp(max=2)


class OtherShares(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, y if name == "train" else torch.where(x[:, 1] < 3, 0, y)


class NearlyConstant(Sound):
    def arrays(self, name: str):
        x, y = super().arrays(name)
        return x, torch.where(x[:, 1:4].sum(1) > 1, 0, y)


class SharesExamples(Sound):
    def arrays(self, name: str):
        x, y = super().arrays("train")
        n = SIZES[name][1]
        return x[:n], y[:n]


# scores, perfect, chance, loss


class OneScore(Sound):
    def score(self, y_hat, y):
        return super().score(y_hat, y).mean()


class ScoresInClasses(Sound):
    def score(self, y_hat, y):
        return super().score(y_hat, y).long()


class ScoresTogether(SoundNumbers):
    def score(self, y_hat, y):
        error = super().score(y_hat, y)
        return error / error.sum()


class ScoresWrong(Sound):
    def score(self, y_hat, y):
        return 1 - super().score(y_hat, y)


class ScoresNotFinite(SoundNumbers):
    def score(self, y_hat, y):
        return super().score(y_hat, y) / 0


class WrongWay(SoundNumbers):
    higher_is_better = True


class LessAccuracyIsBetter(Sound):
    higher_is_better = False


class ScoresAll(Sound):
    def score(self, *outputs):
        return torch.ones(len(outputs[0]))


class Sums(Sound):
    def loss(self, y_hat, y):
        return functional.cross_entropy(y_hat, y.long(), reduction="sum")


class LossEach(Sound):
    def loss(self, y_hat, y):
        return functional.cross_entropy(y_hat, y.long(), reduction="none")


class NoGradient(Sound):
    def loss(self, y_hat, y):
        return super().loss(y_hat.detach(), y) + 0 * y_hat.sum()


class WrongSign(Sound):
    def loss(self, y_hat, y):
        return -super().loss(y_hat, y)


BROKEN = {
    MutableConfig: ("config", "a frozen dataclass", "@dataclass(frozen=True)"),
    FewerTargets: ("splits", "train has 400 inputs and 399 targets", "return Split"),
    NoExamples: ("splits", "train has 0 inputs and 0 targets", "return Split"),
    View: ("splits", "a view into other memory", ".contiguous()"),
    DrawsAnew: ("fingerprints", "fit data made again have another fingerprint", "RandomState(0)"),
    NoChannel: ("encode", "torch.float32 of shape (5, 12) of train", "the signature"),
    Double: ("encode", "makes torch.float64", "mend encode()"),
    NotFinite: ("encode", "infinities or NaN", "divisions by zero"),
    NormalisesBatches: ("encode", "encoded otherwise alone", "constants of the task"),
    KeepsEncoded: ("encode", "RuntimeError: Inference tensors cannot be saved", "mend"),
    CountsFromOne: ("labels", "classes of train go from 1 to 4", "from 0 on"),
    ClassesInARow: ("labels", "have shape (400, 1); expected (400,)", "one class an example"),
    AsksNothing: ("labels", "an example of train has no target", "leave the example out"),
    NumbersNotFinite: ("labels", "targets of train are not finite", "mend the data"),
    OneClassUnseen: ("balance", "of classes that train does not have, such as 3", "stratified"),
    OtherShares: ("balance", "of val would have to change class", "stratified"),
    NearlyConstant: ("balance", "always answering class 0 scores 0.9", "balance the classes"),
    SharesExamples: ("disjoint", "100 of 100 different inputs of val are in train", "a seed of"),
    OneScore: ("scores", "float32 of shape ()", "no mean over the batch"),
    ScoresInClasses: ("scores", "int64 of shape (5,)", "no mean over the batch"),
    ScoresTogether: ("scores", "depends on the others", "every example by itself"),
    ScoresNotFinite: ("scores", "scores of random answers are [inf", "divisions by zero"),
    ScoresWrong: ("perfect", "right answers score 0.000; expected 1", "mend score()"),
    LessAccuracyIsBetter: ("perfect", "higher_is_better is False", "`metric`"),
    WrongWay: ("perfect", "the first to be higher, as higher_is_better says", "higher_is_better"),
    ScoresAll: ("chance", "answers at random score 1.000; expected 0.250", "no credit"),
    Sums: ("loss", "the same examples twice", "not by the sum"),
    LossEach: ("loss", "one finite number", "reduce to the mean"),
    NoGradient: ("loss", "no gradient in the answers", "detach()"),
    WrongSign: ("loss", "right answers have the loss", "a wrong sign"),
}


@pytest.mark.parametrize("sound", [Sound, SoundSteps, SoundNumbers])
def test_a_sound_task_passes(sound: type[Task]) -> None:
    """Classes a sequence, classes a step and numbers: what keeps every promise passes."""
    check_task(sound)


def test_it_is_said_which_preset_was_looked_at() -> None:
    """The first, or the one that is named; the others would each need their data."""

    class Lengths(Sound):
        presets: ClassVar = {"short": Settings(12), "long": Settings(20)}

    for preset, shape in (("short", "1 x 12"), ("long", "1 x 20")):
        said = {o.rule: o.text for o in hold(TaskSubject(Lengths, preset=preset))}
        assert said["splits"].endswith(f"; of preset {preset!r} alone")
        assert said["encode"] == f"float32, {shape}"
    first = {o.rule: o.text for o in hold(TaskSubject(Lengths))}
    assert first["splits"].endswith("; of preset 'short' alone")
    assert "preset" not in {o.rule: o.text for o in hold(TaskSubject(Sound))}["splits"]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_named(broken: type[Task]) -> None:
    """The first rule that fails is the one that is broken; it says what is wrong and what to do."""
    rule, found, mend = BROKEN[broken]
    failed = [each for each in hold(TaskSubject(broken)) if each.state is State.FAILED]
    assert failed[0].rule == rule
    assert found in failed[0].text
    assert "; expected " in failed[0].text
    assert mend in failed[0].mend


DRAWING = """
import random
from seqbench.task import Split
from seqbench.tasks.digits import SDigits

random.seed(7)

class Drawing(SDigits):
    name = "drawing"

    def _split(self, name):
        split = super()._split(name)
        return Split(split.x + hash("a text") % 200, split.y, split.source)
"""


def test_another_process_sees_what_this_one_cannot(install_plugin) -> None:
    """Seeds that are set at import, and data by hashes or sets, which are other ones there."""
    points = "[seqbench.tasks]\ndrawing = seqbench_drawing:Drawing\n"
    install_plugin("seqbench-drawing", "seqbench_drawing", DRAWING, points)
    failed = {each.rule: each for each in hold(named("drawing")) if each.state is State.FAILED}
    assert list(failed) == ["import", "fingerprints"]
    assert "generators of random;" in failed["import"].text
    assert "iterate over no set" in failed["fingerprints"].mend


def test_missing_data_skip_a_test_and_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data is no broken promise, unless they are required."""

    class Missing(Sound):
        def fit_data(self) -> FitData:
            raise DataError(f"there is nothing in {self.data_dir}", "fetch it")

    said = list(hold(TaskSubject(Missing, data_dir=tmp_path)))
    assert [each.state for each in said] == [State.OK, State.SKIPPED, State.SKIPPED]
    monkeypatch.delenv("SEQBENCH_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"nothing in {tmp_path}. fetch it"):
        check_task(Missing, data_dir=tmp_path)
    monkeypatch.setenv("SEQBENCH_REQUIRE", "reference,data")
    with pytest.raises(pytest.fail.Exception, match="SEQBENCH_REQUIRE names data"):
        check_task(Missing, data_dir=tmp_path)


def test_a_broken_task_fails_its_test() -> None:
    """In a plugin's tests, an error names the task, the rule and what mends it."""
    with pytest.raises(ConformanceError, match="WrongSign breaks the rule 'loss'") as caught:
        check_task(WrongSign)
    assert "loss: look for a wrong sign" in caught.value.hint


def test_check_goes_on_where_data_or_plugins_are_broken(
    install_plugin, tmp_path, monkeypatch, capsys
) -> None:
    """Missing data are skipped, a plugin that does not load is a failure, the rest is checked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # `check` sets it
    monkeypatch.setenv("COLUMNS", "300")
    points = "[seqbench.tasks]\nbroken = seqbench_broken:Broken\n"
    install_plugin("seqbench-broken", "seqbench_broken", "import nothing_there", points)
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "broken", "smnist", "tiny-sum", "--data-dir", str(tmp_path)])
    out, err = capsys.readouterr()
    assert stop.value.code == 1
    assert "FAILED  load          the task 'broken' of seqbench-broken 9.1" in out
    assert "skipped splits        mnist is not in" in out
    assert "ok      disjoint" in out.partition("tiny-sum")[2]
    assert err.splitlines()[-1] == "1 broken rule"
    with pytest.raises(SystemExit) as stop:
        cli.main(["check", "smnst"])
    assert stop.value.code == 2
    assert "did you mean 'smnist'" in capsys.readouterr().err


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_tasks_conform(name: str, request: pytest.FixtureRequest) -> None:
    """What comes with seqbench keeps every promise; image tasks where their data are at hand."""
    on_images = issubclass(load_task(name), ImageTask)
    check_task(name, data_dir=request.getfixturevalue("data_dir") if on_images else None)


def test_every_rule_has_its_wrong_task() -> None:
    """No rule is left untested."""
    assert {rule.name for rule in TASK_RULES} == {*(row[0] for row in BROKEN.values()), "import"}
