"""Whether settings marked as published are those of the installed plugin's recipe."""

from __future__ import annotations

from collections.abc import Iterator

from seqbench.difference import differences
from seqbench.errors import SeqbenchError
from seqbench.resolve import resolve
from seqbench.result import Result
from seqbench.spec import Request
from seqbench.verify import Problem
from seqbench.verify.problem import warning

_SETTINGS = "origin.settings"


def check_recipe(result: Result) -> Iterator[Problem]:
    """A result whose settings are marked as published has the model and training of a recipe.

    Only a recipe of the same versions of task and model says anything about it.
    """
    spec, origin = result.spec, result.origin
    if spec.parent and origin.parent and spec.train is None:
        spec, origin = spec.parent, origin.parent  # its weights as they are
    if origin.settings != "published":
        return
    request = Request(
        f"{spec.task.name}:{origin.task_preset}", f"{spec.model.name}:{origin.preset}"
    )
    try:
        plan = resolve(request, spec.weights_sha256)
    except SeqbenchError as error:
        yield warning(_SETTINGS, "published", f"a recipe to hold it against ({error.message})")
        return
    for installed, asked in ((plan.spec.task, spec.task), (plan.spec.model, spec.model)):
        if installed.version != asked.version:
            expected = f"version {asked.version} of {asked.name} to hold it against"
            yield warning(_SETTINGS, f"published; installed is {installed.version}", expected)
            return
    if plan.origin.settings != "published":
        where = f"{spec.model.name}:{origin.preset} for {spec.task.name}"
        yield Problem(_SETTINGS, "published", f"custom: there is no recipe of {where}")
        return
    for path, (found, expected) in differences(spec, plan.spec).items():
        if path.startswith(("model.", "train.")):
            yield Problem(f"spec.{path}", found, f"{expected} of the published recipe")
