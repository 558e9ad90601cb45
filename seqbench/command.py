"""The command line that means a result's run; needs neither torch nor the plugins."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from seqbench.registry import file_of
from seqbench.result import Result, result_path


def command_of(result: Result) -> str:
    """The command that does the run of a result again, as it would be typed; ends with the seed.

    A run with a parent has its seed, and names the parent's result where the parent's own command
    leaves it.

    It names presets and recipes rather than what stands in them, so it means the same run as long
    as the plugins have the same version; ``seqbench reproduce`` needs nothing but the file.
    """
    spec, origin = result.spec, result.origin
    words = ["seqbench", "run", task_of(result), *_model(result)]
    if spec.weights_sha256:
        file = origin.weights.file if origin.weights else None
        words[1:2] = ["evaluate"]
        words += ["--weights", file or "FILE"]
    if spec.parent:
        words[1:2] = ["run" if spec.train else "evaluate"]
        words += ["--parent", f"runs/{result_path(spec.parent).as_posix()}"]
        words += [*options_of(result, "task."), *options_of(result, "train.")]
    else:
        words += options_of(result)
    words += _machine(result)
    if spec.train and not spec.parent:
        words += ["--seed", str(spec.seed)]
    return shlex.join(words)


def task_of(result: Result) -> str:
    """``TASK`` or ``TASK:PRESET``, as a command names it."""
    preset = result.origin.task_preset
    return result.spec.task.name + (f":{preset}" if preset != "default" else "")


def options_of(result: Result, prefix: str = "") -> Iterator[str]:
    """The options that set by hand what was, for paths that begin with ``prefix``."""
    for path, value in sorted(result.origin.overrides.items()):
        if path.startswith(prefix):
            option, name = ("--task", path[5:]) if path.startswith("task.") else ("--set", path)
            yield from (option, f"{name}={_spelled(value)}")


def _model(result: Result) -> tuple[str, ...]:
    name, preset = result.spec.model.name, result.origin.preset
    file = file_of(name)
    return ("--from-file", f"{file}:{preset}") if file else (f"{name}:{preset}",)


def _machine(result: Result) -> Iterator[str]:
    """What decides bits and time, where it is not what the command line takes by itself."""
    if result.provenance.device != "cpu":
        yield from ("--device", result.provenance.device)
    if result.provenance.threads != 1:
        yield from ("--threads", str(result.provenance.threads))


def _spelled(value: Any) -> str:
    """JSON; a string as it is, unless it would be read as something else."""
    if not isinstance(value, str) or value in {"none", "None"}:
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)
