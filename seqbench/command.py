"""The command line that means a result's run; needs neither torch nor the plugins."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from seqbench.result import Result


def command_of(result: Result) -> str:
    """The command that does the run of a result again, as it would be typed; ends with the seed.

    It names presets and recipes rather than what stands in them, so it means the same run as long
    as the plugins have the same version; ``seqbench reproduce`` needs nothing but the file.
    """
    spec, origin = result.spec, result.origin
    task = spec.task.name + (f":{origin.task_preset}" if origin.task_preset != "default" else "")
    words = ["seqbench", "run", task, f"{spec.model.name}:{origin.preset}"]
    if spec.weights_sha256:
        file = origin.weights.file if origin.weights else None
        words[1:2] = ["evaluate"]
        words += ["--weights", file or "FILE"]
    for path, value in sorted(origin.overrides.items()):
        option, name = ("--task", path[5:]) if path.startswith("task.") else ("--set", path)
        words += [option, f"{name}={_spelled(value)}"]
    words += _machine(result)
    if spec.train:
        words += ["--seed", str(spec.seed)]
    return shlex.join(words)


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
