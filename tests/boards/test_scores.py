"""The scores behind an overall table: models by boards."""

from synthetic_results import ACCURACY, ERROR, failed, seeds, spec_of

from seqbench.boards import rank, render_latex, render_markdown
from seqbench.boards.scores import scores_of


def results_of(task, scores, metric=ACCURACY, **config):
    """Results of models with a score each, at three seeds."""
    return [
        result
        for model, score in scores.items()
        for result in seeds([score] * 3, task=task, model=model, metric=metric, task_config=config)
    ]


def scores_behind(results):
    """Those of the only overall table."""
    leaderboard = rank(results)
    (overall,) = leaderboard.overall
    return scores_of(overall, leaderboard.boards)


def test_a_row_a_model_and_a_column_a_board():
    """In the order of the overall table, the best in bold, and ties of what is shown too."""
    scores = scores_behind(
        [
            *results_of("t1", {"a": 0.9, "b": 0.8, "c": 0.95}),
            *results_of("t2", {"a": 0.7, "b": 0.70001}),
        ]
    )
    assert scores.headings == (("t1",), ("t2",))
    assert scores.note.startswith("accuracy (%) \N{UPWARDS ARROW}, mean")
    pm = "\N{PLUS-MINUS SIGN} 0.00"
    assert scores.cells == {
        "a:default": ((f"90.00 {pm}", False), (f"70.00 {pm}", True)),
        "b:default": ((f"80.00 {pm}", False), (f"70.00 {pm}", True)),
        "c:default": ((f"95.00 {pm}", True), ("\N{EN DASH}", False)),
    }


def test_boards_of_one_task_are_told_apart_by_what_differs():
    """A board that is alone keeps its whole title."""
    models = {"a": 0.9, "b": 0.8}
    scores = scores_behind(
        [
            *results_of("copy", models, length=30, memory=10),
            *results_of("copy", models, length=100, memory=10),
            *results_of("mqar", models, pairs=4),
        ]
    )
    assert scores.headings == (("copy", "length=30"), ("copy", "length=100"), ("mqar", "pairs=4"))


def test_every_column_has_its_metric_where_they_differ():
    """And the best is the lowest error."""
    results = results_of("t1", {"a": 0.9, "b": 0.8})
    results += results_of("t2", {"a": 0.5, "b": 0.25}, metric=ERROR)
    scores = scores_behind(results)
    assert [lines[1][:-2] for lines in scores.headings] == ["accuracy (%)", "mse"]
    assert scores.note.startswith("mean")
    assert [best for _, best in scores.cells["b:default"]] == [False, True]


def test_marks_are_explained():
    """Of one seed, and of seeds that were lost."""
    results = results_of("t1", {"a": 0.9, "b": 0.8})
    results += seeds([0.9], task="t2", model="a")
    results += [*seeds([0.8] * 2, task="t2", model="b"), failed(spec_of("t2", "b", 2))]
    scores = scores_behind(results)
    assert [cells[1][0][-1] for cells in scores.cells.values()] == list(
        "\N{DAGGER}\N{DOUBLE DAGGER}"
    )
    assert "one seed" in scores.note
    assert "did not end well" in scores.note


def test_many_boards_are_several_tables_in_latex_alone():
    """About equally wide; nothing is lost."""
    leaderboard = rank(
        result for t in range(9) for result in results_of(f"t{t}", {"a": 0.9, "b": 0.8})
    )
    page = render_latex(leaderboard)
    assert [page.count(f"Scores, part {n} of 2") for n in (1, 2, 3)] == [1, 1, 0]
    assert r"\label{tab:scores-part-1-of-2}" in page
    pieces = scores_of(leaderboard.overall[0], leaderboard.boards).pieces(8)
    assert [len(piece.headings) for piece in pieces] == [5, 4]
    line = "| model | t0 | t1 | t2 | t3 | t4 | t5 | t6 | t7 | t8 |"
    assert line in render_markdown(leaderboard)


def test_a_table_that_no_page_holds_does_not_float():
    """LaTeX would cut it off, with a warning alone."""
    for models, floats in ((35, True), (36, False)):
        scores = {f"m{n:02}": n / 100 for n in range(models)}
        results = [r for t in ("t1", "t2") for r in results_of(t, scores)]
        page = render_latex(rank(results))
        assert (r"\begin{table*}" in page) == floats
        assert all(page.count(f"{name}:default &") >= 3 for name in scores)
