"""Whether a result has what its status asks for, on the data and with the costs that it claims."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from seqbench.result import Data, Result, Status
from seqbench.verify.definition import definition_of, known_data
from seqbench.verify.problem import Problem, unequal, warning

_TESTED = {"val", "test", "test_scores", "signature", "data", "cost"}
_TRAINED = {"chosen_epoch", "curve"}
_OF_TEST = {"test", "test_scores", "test_loss"}

_PRESENT = {
    Status.OK: _TESTED | _TRAINED,
    Status.EVALUATED: _TESTED,
    Status.TRIAL: (_TESTED | _TRAINED) - _OF_TEST,
}
_OF_FAILURE = {"error", "time_limit_seconds"}
_ABSENT = {
    Status.OK: _OF_FAILURE,
    Status.EVALUATED: _OF_FAILURE | _TRAINED,
    Status.TRIAL: _OF_FAILURE | _OF_TEST,
}
_ENDED_BADLY = ({"error"}, _OF_TEST)

_CLOCKS_DIFFER = timedelta(days=1)


def check_status(result: Result) -> Iterator[Problem]:
    """Everything that a run of this status leaves is there, and nothing that it cannot leave."""
    status = result.status
    # A parent's weights that are tested as they are leave what weights from elsewhere do.
    as_it_is = status is Status.OK and result.spec.parent and result.spec.train is None
    kind = Status.EVALUATED if as_it_is else status
    present = _PRESENT.get(kind, _ENDED_BADLY[0])
    absent = _ABSENT.get(kind, _ENDED_BADLY[1])
    for name in sorted(present):
        if not getattr(result, name):
            yield Problem(name, "nothing", f"a value, for status {status}")
    for name in sorted(absent):
        if getattr(result, name):
            yield Problem(name, "a value", f"nothing, for status {status}")
    if status is Status.EVALUATED and result.spec.weights_sha256 is None:
        what = "a training" if result.spec.train else "nothing"
        yield Problem("spec.train", what, "weights_sha256, for status evaluated")
    if kind in {Status.OK, Status.TRIAL} and result.spec.train is None:
        yield Problem("spec.train", "nothing", f"a training, for status {status}")


def check_task(result: Result) -> Iterator[Problem]:
    """Metric, signature and numbers of examples are those of the task's version."""
    definition = definition_of(result.spec.task)
    if definition is None:
        return
    if result.metric != definition.metric:
        found, expected = (
            f"{m.name}, {'higher' if m.higher_is_better else 'lower'} is better"
            for m in (result.metric, definition.metric)
        )
        yield Problem("metric", found, expected)
    for name in ("val", "test"):
        if score := getattr(result, name):
            why = f"examples of {result.spec.task.name}"
            yield from unequal(f"{name}.n", score.n, getattr(definition, name), why)
    known = known_data(result.spec.task)
    if known and result.signature and result.signature != known.signature:
        yield Problem("signature", result.signature, f"{known.signature}")


def check_data(result: Result) -> Iterator[Problem]:
    """Data that are said to be official have the recorded fingerprints, and others have not."""
    data = result.data
    if data is None:
        return
    prints = _fingerprints(data)
    for name, value in prints.items():
        if not re.fullmatch("[0-9a-f]{64}", value):
            yield Problem(f"data.{name}", value, "a SHA-256, 64 hexadecimal digits")
    known = known_data(result.spec.task)
    recorded = _fingerprints(known.data) if known else {}
    if known is None or not (known.data.official or prints == recorded):
        if data.official:
            expected = "fingerprints of the official data, of which there is no record here"
            yield warning("data.official", "true", expected)
    elif data.official != known.data.official and prints.items() <= recorded.items():
        found, expected = (str(each.official).lower() for each in (data, known.data))
        yield Problem("data.official", found, f"{expected}, of data with these fingerprints")
    elif data.official:
        for name, value in prints.items():
            if value != recorded[name]:
                yield Problem(f"data.{name}", value, f"{recorded[name]} of the official data")


def _fingerprints(data: Data) -> dict[str, str]:
    """Those that are there: a run that was not tested has none of test data."""
    return {
        name: value
        for name, value in data.model_dump(exclude_none=True).items()
        if name.endswith("sha256")
    }


def check_cost(result: Result) -> Iterator[Problem]:
    """Costs are more than nothing."""
    if result.cost is None:
        return
    for name, value in result.cost.model_dump(exclude_none=True).items():
        if value <= 0:
            yield Problem(f"cost.{name}", value, "more than zero")
    if result.status is Status.OK and result.spec.train and result.cost.train_seconds is None:
        yield Problem("cost.train_seconds", None, "seconds of training")


def check_provenance(result: Result) -> Iterator[Problem]:
    """It was run by a known commit, in the past."""
    provenance = result.provenance
    try:
        started = datetime.fromisoformat(provenance.started_at)
        late = started > datetime.now(UTC) + _CLOCKS_DIFFER
    except (TypeError, ValueError):  # a time without a zone cannot be compared
        yield Problem("provenance.started_at", provenance.started_at, "a time with its zone")
    else:
        if late:
            yield Problem("provenance.started_at", provenance.started_at, "a time in the past")
    if provenance.seconds <= 0:
        yield Problem("provenance.seconds", provenance.seconds, "more than zero")
    if provenance.threads < 1:
        yield Problem("provenance.threads", provenance.threads, "at least one")
    if provenance.commit is None:
        yield warning("provenance.commit", None, "the commit that was run")
    elif provenance.dirty:
        yield warning("provenance.dirty", "uncommitted changes", "a commit as it is")
    for name in ("task_plugin", "model_plugin"):
        plugin = getattr(provenance, name)
        if plugin.dirty and plugin.commit != provenance.commit:
            yield warning(f"provenance.{name}.dirty", "uncommitted changes", "a commit as it is")
        if plugin.code and len(plugin.code) > 1:
            found = f"{len(plugin.code)} states, changed between sittings"
            yield warning(f"provenance.{name}.code", found, "the same code all along")
    if result.origin.settings == "published" and not result.origin.recipe_source:
        yield Problem("origin.recipe_source", None, "where the settings are published")
