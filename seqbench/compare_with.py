"""A new result beside those that there are of other models on its task."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqbench import registry
from seqbench.boards import Leaderboard, load_published, rank
from seqbench.command import options_of, task_of
from seqbench.errors import ConfigError, ResultError, UnknownNameError
from seqbench.result import Result, read_results
from seqbench.spec import RunSpec


@dataclass(frozen=True)
class Neighbours:
    """Models to stand beside a result, ``NAME`` or ``NAME:PRESET``, and where they are looked for.

    ``results`` are all that the directories hold; ``unreadable`` says what could not be read.
    """

    models: tuple[str, ...]
    directories: tuple[Path, ...]
    results: tuple[Result, ...]
    unreadable: tuple[ResultError, ...]

    def beside(self, result: Result) -> Leaderboard:
        """The boards of the result's task: its row, with other seeds, and those of the models."""
        shown = [
            each
            for each in self.results
            if self._of(each, self.models, result) or _but_for_seed(each) == _but_for_seed(result)
        ]
        return rank([*shown, result], load_published())

    def missing(self, result: Result, output_dir: Path) -> list[str]:
        """For each model that has no result on the task, the command that makes one.

        On the same task, from the same seed and for as long as the result's run was told to train.
        """
        commands = []
        for model in self.models:
            if any(self._of(each, [model], result) for each in self.results):
                continue
            words = ["seqbench", "run", task_of(result), model]
            for path in ("task.", "train.epochs", "train.max_steps"):
                words += options_of(result, path)
            words += ["--seed", str(result.spec.seed), "--output-dir", str(output_dir)]
            commands.append(shlex.join(words))
        return commands

    @staticmethod
    def _of(each: Result, models: Iterable[str], result: Result) -> bool:
        name, preset = each.spec.model.name, each.origin.preset
        same_task = each.spec.task == result.spec.task
        return same_task and not {name, f"{name}:{preset}"}.isdisjoint(models)


def _but_for_seed(result: Result) -> RunSpec:
    return result.spec.at_seed(0)


def neighbours(models: str, directories: Sequence[Path]) -> Neighbours:
    """What ``--compare-with NAME,NAME:PRESET`` means.

    The first of the directories may not be there yet.

    Raises:
        UnknownNameError: a name or preset is neither that of a model nor of any result.
        ConfigError: there is no name, or no such directory.
        PluginError: a preset that no result has is of a model that cannot be loaded.

    """
    names = tuple(filter(None, (name.strip() for name in models.split(","))))
    if not names:
        raise ConfigError("--compare-with names no model", "expected NAME,NAME:PRESET,...")
    for directory in directories[1:]:
        if not directory.is_dir():
            raise ConfigError(f"--results {directory} is no directory")
    read = [read_results(directory) for directory in dict.fromkeys(directories)]
    results = tuple(result for found, _ in read for result in found)
    known = {*registry.entries(registry.MODELS), *(each.spec.model.name for each in results)}
    for name in names:
        if name.partition(":")[0] not in known:
            raise UnknownNameError("model or result", name, known)
        _check_preset(name, results)
    unreadable = tuple(error for _, errors in read for error in errors)
    return Neighbours(names, tuple(directories), results, unreadable)


def _check_preset(text: str, results: Iterable[Result]) -> None:
    name, _, preset = text.partition(":")
    presets = {each.origin.preset for each in results if each.spec.model.name == name}
    if not preset or preset in presets:
        return
    if name in registry.entries(registry.MODELS):
        from seqbench.model import load_model
        from seqbench.resolve import presets_of

        presets |= {*presets_of(load_model(name))}
    if preset not in presets:
        raise UnknownNameError(f"preset of {name!r}", preset, presets)
