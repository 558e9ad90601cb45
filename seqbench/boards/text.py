"""How numbers and marks are written in tables for people."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from seqbench.boards.board import (
    Board,
    Overall,
    OverallRow,
    Row,
    Standing,
    Transfer,
    TransferRow,
    TransferScore,
)
from seqbench.boards.published import Published
from seqbench.result import Cost

MISSING = "\N{EN DASH}"
UNKNOWN = "n/a"

ONE_SEED = "\N{DAGGER}"
LOST = "\N{DOUBLE DAGGER}"
UNVERIFIED = "\N{SECTION SIGN}"
WAITED = "\N{PILCROW SIGN}"
"""Marks that a footnote explains; a place in brackets is the fourth."""

COLUMNS = (
    "rank",
    "model",
    "score",
    "interval",
    "group",
    "p",
    "\N{MINUS SIGN} published",
    "budget",
    "seeds",
    "val",
    "params",
    "FLOPs",
    "train",
    "latency",
    "throughput",
    "peak",
    "settings",
)

_LENGTH = ("train.epochs", "train.max_steps")

PUBLISHED_COLUMNS = ("model", "score", "params", "selected on", "variant", "source")


ONE_SEED_NOTE = (
    f"{ONE_SEED} one seed: the standard error over test examples stands for the standard deviation "
    "over seeds"
)
LOST_NOTE = f"{LOST} some seeds did not end well; the score is of the others"
TRANSFER_NOTE = (
    "rates are relative to the task's own; what was not fine-tuned is tested with the weights of "
    "its training"
)


def score_heading(board: Board | Transfer) -> str:
    """The metric, with its unit and its direction."""
    unit = " (%)" if in_percent(board) else ""
    arrow = "\N{UPWARDS ARROW}" if board.metric.higher_is_better else "\N{DOWNWARDS ARROW}"
    return f"{board.metric.name}{unit} {arrow}"


def about(board: Board) -> str:
    """What a board is of, in one line."""
    data = {True: "official data", None: "data unknown: no run got as far"}.get(
        board.official, f"data: {board.label or 'unnamed'}, not the official; a board of its own"
    )
    budget = {"full": "", "steps": "; training cut at a number of steps"}[board.budget]
    return f"task version {board.task.version}; {data}{budget}"


def cells(board: Board, row: Row) -> tuple[str, ...]:
    """One row as text, in the order of ``COLUMNS``."""
    cost = row.cost
    return (
        place(row),
        row.label,
        score(board, row),
        _interval(board, row),
        letters(board.groups).get(row.id, ""),
        MISSING if row.below is None else p_value(row.below.p_adjusted),
        _minus_published(board, row),
        _budget(row),
        _seeds(row),
        MISSING if row.val_mean is None else number(board, row.val_mean),
        MISSING if cost is None else f"{cost.parameters:,}",
        _flops(cost),
        duration(cost.train_seconds if cost else None) + (WAITED if cost and cost.waited else ""),
        duration(cost.latency_seconds if cost else None),
        amount(cost.throughput if cost else None, "/s"),
        amount(cost.peak_bytes if cost else None, "B"),
        _settings(row),
    )


def short_labels(board: Board) -> dict[str, str]:
    """``MODEL:PRESET`` of each row, by id, with what was set by hand where others have it too.

    The length of training is left out: it has a column of its own.
    """
    labels: dict[str, str] = {}
    for row in board.rows:
        alike = [other for other in board.rows if other.preset_name == row.preset_name]
        settings = settings_apart(row, alike, "model.")
        settings += settings_apart(row, alike, "train.", _LENGTH)
        tuned = ["fine-tuned"] if row.parent and row.train else []
        labels[row.id] = " ".join([row.preset_name, *tuned, *settings, *marks_of(row)])
    known = Counter((labels[row.id], _budget(row)) for row in board.rows)
    return {
        row.id: labels[row.id] if known[labels[row.id], _budget(row)] == 1 else row.label
        for row in board.rows
    }


def marks_of(row: Row) -> list[str]:
    """What a row is besides its settings: of a network at another rate, or of other weights."""
    marks = ["unchanged"] if row.rate_change and not row.rate_change.adapted else []
    return marks + ([f"weights {row.weights_sha256[:8]}"] if row.weights_sha256 else [])


def settings_apart(
    row: Row, rows: Sequence[Row], prefix: str, ignored: Collection[str] = ()
) -> list[str]:
    """The settings of a row that were made by hand and that others of these rows have otherwise."""
    apart = {
        path: row.setting(path)
        for path in row.overrides
        if path.startswith(prefix) and path not in ignored
        if len({repr(each.setting(path)) for each in rows}) > 1
    }
    return shown_settings(apart, prefix)


def shown_settings(settings: Mapping[str, object], prefix: str) -> list[str]:
    """Settings without the part that they share, in brackets; nothing of none."""
    shown = ", ".join(
        f"{path.removeprefix(prefix)}={value}"
        for path, value in sorted(settings.items())
        if path.startswith(prefix)
    )
    return [f"({shown})"] if shown else []


def used_columns(board: Board) -> list[str]:
    """The columns that say something on this board: no test, group or published number, none."""
    said = {
        "interval": any(row.interval for row in board.rows),
        "group": bool(board.groups),
        "p": any(row.below for row in board.rows),
        "\N{MINUS SIGN} published": any(row.minus_published is not None for row in board.rows),
    }
    return [column for column in COLUMNS if said.get(column, True)]


def published_cells(board: Board, published: Published) -> tuple[str, ...]:
    """A published number as text, in the order of ``PUBLISHED_COLUMNS``."""
    return (
        published.model,
        _published_score(board, published),
        f"{published.parameters:,}" if published.parameters else MISSING,
        MISSING if published.selection == "unknown" else published.selection,
        published.task_variant or "",
        f"{published.source}; {published.notes}" if published.notes else published.source,
    )


def letters(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """The letters of each member of a group: two that share one are not shown to differ."""
    found: dict[str, str] = {}
    for index, group in enumerate(groups):
        turn, letter = divmod(index, 26)
        for member in group:
            name = string.ascii_lowercase[letter] + (str(turn) if turn else "")
            found[member] = found.get(member, "") + name
    return found


def published_line(board: Board) -> str:
    """The best published numbers of a board in one line, and how many there are."""
    best = [published_cells(board, one)[:2] for one in board.published[:3]]
    shown = ", ".join(" ".join(cells) for cells in best)
    more = len(board.published) - len(best)
    return f"{shown}{f' and {more} more' if more else ''}"


def footnotes(boards: Sequence[Board]) -> list[str]:
    """What the marks on boards mean, as far as they are there, and where costs were measured."""
    rows = [row for board in boards for row in board.rows]
    notes = []
    if any(row.standing is Standing.PROVISIONAL for row in rows):
        notes.append(
            "(n): provisional, fewer than 3 seeds, and its place among all rows; a rank without "
            "brackets is among the rows of 3 seeds or more"
        )
    if any(len(row.scores) == 1 for row in rows):
        notes.append(ONE_SEED_NOTE)
    if any(row.lost and row.scores for row in rows):
        notes.append(LOST_NOTE)
    if any(board.groups for board in boards):
        notes.append(
            "rows that share a letter are not shown to differ, by a paired test of first and last "
            "of a group, at level 0.05 over all pairs of the board (Bonferroni)"
        )
    if any(row.weights for row in rows):
        notes.append(
            "evaluated: trained weights from elsewhere, never ranked; selected on test: chosen by "
            "their test score, which is an upper bound then; selection unknown: perhaps so too"
        )
    if any(row.parent for row in rows):
        notes.append(
            "trained on another task or at another sampling rate: with the weights of that "
            "training, as they are, or fine-tuned on this task"
        )
    if any(row.rate_change and not row.rate_change.adapted for row in rows):
        notes.append(
            "unchanged: the model has no way to change its sampling rate, so the network was used "
            "as it is; the others were adapted to the rate of the task"
        )
    if any(one.source_kind == "unverified" for board in boards for one in board.published):
        notes.append(f"{UNVERIFIED} a published number that was recalled, not read in its source")
    if any(row.cost.waited for row in rows if row.cost):
        notes.append(
            f"{WAITED} training had a core for less than 0.9 of this time, as other processes used "
            "the machine, or it waited for a disk: the time is an upper bound"
        )
    if machines := sorted({machine for row in rows for machine in row.machines}):
        several = "; costs compare on one machine only" if len(machines) > 1 else ""
        notes.append(f"measured on {', '.join(machines)}{several}")
    return notes


def statistics_notes(boards: Sequence[Board]) -> list[str]:
    """What intervals, tests and differences are of, as far as they are there."""
    rows = [row for board in boards for row in board.rows]
    notes = []
    if any(row.interval for row in rows):
        notes.append(
            "[low, high]: 95% interval of the mean (Student's t) over other seeds and other test "
            "examples, with one seed over other examples alone"
        )
    if tests := sorted({row.below.test for row in rows if row.below}):
        notes.append(
            f"p: {' or '.join(tests)} against the row below, paired over the same test examples, "
            "adjusted by Holm's method over these tests, so less cautious than the letters; it is "
            "of the trained networks, not of seeds that were not trained"
        )
    if any(row.minus_published is not None for row in rows):
        notes.append(
            "\N{MINUS SIGN} published: the mean minus the published number of the same network, "
            "whose training may have been another"
        )
    if any(one.selection == "test" for board in boards for one in board.published):
        notes.append(
            "published and selected on test: the best epoch by test score, an upper bound on "
            "what is measured here"
        )
    return notes


def step_budgets(table: Overall) -> str:
    """What follows the heading of an overall table, where it is over boards of step budgets."""
    return "" if table.budget == "full" else ", step budgets"


def overall_note(table: Overall) -> str:
    """What the order of an overall table is worth."""
    parts = []
    if table.friedman_p is not None:
        parts.append(f"Friedman's test: p {equals(p_value(table.friedman_p))}")
    if table.critical_difference is not None:
        parts.append(
            "Nemenyi's critical difference of mean ranks at level 0.05: "
            f"{table.critical_difference:.2f}"
        )
    if table.groups:
        parts.append("models that share a letter are not shown to differ")
    return "; ".join(parts) or "Of two models alone nothing is claimed"


def left_out(table: Overall, name: str) -> str:
    """A model that is not in an overall table, and on how many of its boards it stands."""
    boards = len(table.boards)
    return f"{name}, with a score on {boards - len(table.missing[name])} of the {boards} boards"


def transfer_heading(table: Transfer) -> str:
    """What a table of scores at several rates is called."""
    mark = "" if table.official else f"@{table.label or 'other data'}"
    budget = ", step budget" if table.budget == "steps" else ""
    return f"{table.title}{mark} at other sampling rates{budget}"


def transfer_columns(table: Transfer) -> list[str]:
    """The columns of ``transfer_cells``."""
    return ["model", "trained at", *(f"at {rate(value)}" for value in table.rates)]


def transfer_cells(table: Transfer, row: TransferRow) -> list[str]:
    """A network's scores as text: at the rate of its training, and at the others."""
    scores = [_transferred(table, score) for score in row.scores]
    return [row.name, rate(row.trained), *scores]


def rate(value: float) -> str:
    """A sampling rate relative to the task's own, as a fraction if it is a simple one."""
    fraction = Fraction(value).limit_denominator(64)
    return str(fraction) if fraction == value else f"{value:g}"


def failures(board: Board) -> list[str]:
    """One line for each row that lost runs: how many of which status, and the first cause."""
    return [
        f"{row.label}: {_lost(row)}{f' ({row.cause})' if row.cause else ''}"
        for row in board.rows
        if row.lost
    ]


def place(row: Row) -> str:
    """Rank, or the position in brackets for a provisional row."""
    if row.standing is Standing.PROVISIONAL:
        return f"({row.position})"
    return MISSING if row.rank is None else str(row.rank)


def overall_place(row: OverallRow) -> str:
    """Rank over all boards, in brackets if it is provisional."""
    return f"({row.rank})" if row.provisional else str(row.rank)


def mean_rank(row: OverallRow) -> str:
    """The mean rank with two decimals, rounded alike on every page."""
    return f"{row.mean_rank:.2f}"


def number(board: Board | Transfer, value: float) -> str:
    """A score: accuracy in percent, any other metric with four significant digits."""
    return f"{100 * value:.2f}" if in_percent(board) else f"{value:.4g}"


def equals(number: str) -> str:
    """What follows a name: ``= 0.1``, or ``< 0.1`` of a bound."""
    return f"< {number[1:]}" if number.startswith("<") else f"= {number}"


def p_value(p: float) -> str:
    """Two significant digits, down to a thousandth."""
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def amount(value: float | None, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: ``1.23 GB``."""
    if value is None:
        return MISSING
    prefixes = ["", "k", "M", "G", "T"]
    while float(f"{value:.3g}") >= 1000 and len(prefixes) > 1:
        value /= 1000
        del prefixes[0]
    return f"{value:.3g} {prefixes[0]}{unit}".rstrip()


def duration(seconds: float | None) -> str:
    """Seconds in a fitting unit: ``3.2 ms``, ``41 s``, ``2.5 h``."""
    if seconds is None:
        return MISSING
    for limit, size, unit in ((1e-3, 1e-6, "\N{MICRO SIGN}s"), (1, 1e-3, "ms"), (120, 1, "s")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def in_percent(board: Board | Transfer) -> bool:
    """Whether scores are shown times 100."""
    return board.metric.name == "accuracy"


def score(board: Board, row: Row) -> str:
    """The mean over seeds and their deviation; what became of them where none has a score."""
    if row.mean is None:
        return ", ".join(row.statuses)
    spread = row.standard_error if row.sd is None else row.sd
    mark = ONE_SEED if row.sd is None else ""
    if spread is None:
        return number(board, row.mean)
    return f"{number(board, row.mean)} \N{PLUS-MINUS SIGN} {_spread(board, spread)}{mark}"


def _transferred(table: Transfer, score: TransferScore | None) -> str:
    if score is None:
        return MISSING
    spread = "" if score.sd is None else f" \N{PLUS-MINUS SIGN} {_spread(table, score.sd)}"
    return f"{number(table, score.mean)}{spread}{ONE_SEED if score.sd is None else ''}"


def _spread(board: Board | Transfer, value: float) -> str:
    return f"{100 * value:.2f}" if in_percent(board) else f"{value:.2g}"


def _interval(board: Board, row: Row) -> str:
    """As many digits as the score has."""
    if row.interval is None:
        return MISSING
    ends = (row.interval.low, row.interval.high)
    low, high = (f"{100 * end:.2f}" if in_percent(board) else f"{end:.3g}" for end in ends)
    return f"[{low}, {high}]"


def _minus_published(board: Board, row: Row) -> str:
    if row.minus_published is None:
        return MISSING
    shown = (
        f"{100 * row.minus_published:+.2f}" if in_percent(board) else f"{row.minus_published:+.3g}"
    )
    kind = next(one.source_kind for one in board.published if one.row == row.preset_name)
    mark = UNVERIFIED if kind == "unverified" else ""
    return shown.replace("-", "\N{MINUS SIGN}") + mark


def _published_score(board: Board, published: Published) -> str:
    mark = UNVERIFIED if published.source_kind == "unverified" else ""
    return number(board, published.score) + mark


def _settings(row: Row) -> str:
    """The mark of the settings; of weights only evaluated, what they were selected on."""
    if row.weights is None:
        return row.settings
    how = {
        "validation": "",
        "test": ", selected on test",
        "unknown": ", selection unknown",
    }[row.weights.selection]
    return f"{Standing.EVALUATED.value}{how}"


def _budget(row: Row) -> str:
    return row.train.length if row.train else MISSING


def _seeds(row: Row) -> str:
    if not row.lost:
        return str(len(row.scores))
    mark = LOST if row.scores else ""
    return f"{len(row.scores)}/{len(row.scores) + row.lost}{mark}"


def _lost(row: Row) -> str:
    lost = {s: n for s, n in row.statuses.items() if s not in {"ok", "evaluated"}}
    counts = ", ".join(f"{n} {status}" for status, n in lost.items())
    return f"{counts} of {sum(row.statuses.values())} runs"


def _flops(cost: Cost | None) -> str:
    if cost is None:
        return MISSING
    return UNKNOWN if cost.flops is None else amount(cost.flops)
