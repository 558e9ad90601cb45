"""Tables of networks at other sampling rates than those of their training."""

from __future__ import annotations

from synthetic_results import LOSSY, at_rates, result_of, seeds, spec_of

from seqbench.boards import Leaderboard, rank, render_json, render_latex, render_markdown
from seqbench.boards.text import rate
from seqbench.result import RateChange
from seqbench.spec import TrainSpec


def means(table):
    """Scores by name and rate of training, and rate of the test."""
    return {
        (row.name, row.trained): {
            at: score and score.mean for at, score in zip(table.rates, row.scores, strict=True)
        }
        for row in table.rows
    }


def test_scores_stand_at_the_rate_they_were_tested_at():
    """With the score of the network at its own rate beside."""
    (table,) = rank(at_rates()).transfers
    assert table.rates == (1, 0.5)
    assert means(table) == {
        ("flexconv:default", 1): {1: 0.9, 0.5: 0.7},
        ("flexconv:default", 0.5): {1: 0.6, 0.5: 0.8},
    }


def test_a_fine_tuned_network_is_a_row_of_its_own():
    """Its score at its first rate is no score of it."""
    tuned = at_rates(scores=(0.9, 0.8, 0.75, 0.65), tuned=TrainSpec(epochs=1))
    (table,) = rank([*at_rates(), *tuned[2:]]).transfers
    scores = means(table)
    (name,) = {name for name, _ in scores if "fine-tuned" in name}
    assert scores[name, 1] == {1: None, 0.5: 0.75}
    assert scores["flexconv:default", 1] == {1: 0.9, 0.5: 0.7}


def test_another_training_is_another_row():
    """Networks of one model at one rate that were trained in two ways are not mixed."""
    parent = spec_of("wave", "flexconv", train=TrainSpec(learning_rate=1.0))
    child = spec_of("wave", "flexconv", task_config={"rate": 0.5}, parent=parent, train=None)
    change = RateChange(ratio=0.5, adapted=True)
    other = [result_of(parent, 0.5), result_of(child, 0.4, rate_change=change)]
    (table,) = rank([*at_rates(), *other]).transfers
    assert len(table.rows) == 3


def test_resolutions_are_rates():
    """Images at half their resolution are at half the rate; what it is, the results say."""
    coarse = {"resolution": 16}
    parent = spec_of("picture", "flexconv", task_config=coarse)
    child = spec_of("picture", "flexconv", parent=parent, train=None)
    change = RateChange(ratio=2, adapted=True, rate=1)
    results = [result_of(parent, 0.8), result_of(child, 0.7, rate_change=change)]
    (table,) = rank(results).transfers
    assert table.title == "picture"
    assert means(table) == {("flexconv:default", 0.5): {1: 0.7, 0.5: 0.8}}


def test_networks_that_cannot_change_their_rate_are_marked():
    """By their name, as on the boards."""
    (table,) = rank(at_rates("tcn", adapted=False)).transfers
    assert {row.name for row in table.rows} == {"tcn:default unchanged"}


def test_data_of_two_kinds_make_two_tables():
    """What is not official stands apart and says so."""
    worse = at_rates(scores=(0.5, 0.4, 0.3, 0.2))
    lossy = [result.model_copy(update={"data": LOSSY}) for result in worse]
    official, other = rank([*at_rates(), *lossy]).transfers
    assert (official.official, other.official) == (True, False)
    assert means(other)["flexconv:default", 1] == {1: 0.5, 0.5: 0.3}
    assert "wave@JPEG quality 75 at other sampling rates" in render_markdown(rank(lossy))


def test_pages_show_the_table():
    """A line a network, in Markdown and LaTeX; nothing is lost in JSON."""
    leaderboard = rank([*at_rates(), *at_rates("tcn", adapted=False)])
    assert (
        "| model | trained at | at 1 | at 1/2 |\n| :-- | --: | --: | --: |\n"
        "| flexconv:default | 1 | 90.00\N{DAGGER} | 70.00\N{DAGGER} |\n"
    ) in render_markdown(leaderboard)
    assert r"tcn:default unchanged & 1/2 & 60.00\textdagger{} & 80.00" in render_latex(leaderboard)
    assert Leaderboard.model_validate_json(render_json(leaderboard)) == leaderboard


def test_there_is_no_table_without_a_change_of_rate():
    """Runs at several rates alone make none."""
    slow = seeds([0.5], task="wave", task_config={"rate": 0.5})
    assert rank([*seeds([0.9], task="wave"), *slow]).transfers == ()


def test_rates_are_written_as_fractions():
    """Those that are simple."""
    assert [rate(value) for value in (1.0, 0.5, 0.125, 2.0, 0.3)] == ["1", "1/2", "1/8", "2", "0.3"]
