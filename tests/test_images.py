"""Runs on images, and from one resolution to another."""

from __future__ import annotations

import pytest

from seqbench.boards import render_markdown
from seqbench.boards.ranking import rank
from seqbench.errors import ConfigError
from seqbench.resolve import resolve
from seqbench.result import Status, read_results
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.testing import check_task
from seqbench.verify import verify

COARSE = {"resolution": 8}
NETWORKS = {
    "flexconv": {
        "model.architecture": "flexnet",
        "model.channels": 6,
        "model.blocks": 1,
        "model.mask_width": 0.4,
        "model.dropout": 0.0,
        "model.mask_threshold": 0.0,
    },
    "resnet": {"model.blocks": 1, "model.width": 4},
}


def training(model: str, **fields) -> Request:
    """A short training on coarse images."""
    settings = {"train.epochs": 6, "train.learning_rate": 0.01, "train.batch_size": 25}
    return Request("tiny-grating", model, COARSE, settings | NETWORKS[model], **fields)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory):
    """Results of two models, trained on 8 x 8 pixels, and used as they are on 16 x 16."""
    directory = tmp_path_factory.mktemp("images")
    for model in NETWORKS:
        child = Request("tiny-grating", model, parent=training(model), trained=False)
        run(resolve(child), Place(directory))
    return directory


def test_a_task_of_images_conforms() -> None:
    """Its promises are looked into as those of sequences are."""
    check_task("tiny-grating")


def test_weights_go_from_one_resolution_to_another(directory) -> None:
    """A network with ``at_rate`` keeps what it knows; one without is marked as unchanged."""
    results, errors = read_results(directory)
    assert not errors
    assert {result.status for result in results} == {Status.OK}
    by_name = {(r.spec.model.name, r.signature.shape): r for r in results}
    for model, adapted in (("flexconv", True), ("resnet", False)):
        coarse, fine = (by_name[model, (side, side)] for side in (8, 16))
        assert coarse.test.mean > 0.9
        assert (fine.rate_change.ratio, fine.rate_change.adapted) == (2, adapted)
        assert coarse.cost.flops is not None
        assert fine.cost.flops > coarse.cost.flops
        if adapted:
            assert fine.test.mean > 0.9
    assert by_name["flexconv", (8, 8)].curve[-1].learned.keys() >= {"kernel_size_vertical"}


def test_boards_of_resolutions(directory) -> None:
    """They are verified and ranked like others, on boards that say what was trained on."""
    usual = {"data.official", "provenance.commit", "provenance.dirty"}
    assert {finding.problem.where for finding in verify(directory).findings} <= usual
    board = rank(read_results(directory)[0], ())
    (table,) = board.transfers
    assert (table.title, table.rates) == ("tiny-grating", (1, 0.5))
    page = render_markdown(board)
    assert "tiny-grating (resolution=16), trained on tiny-grating (resolution=8)" in page
    assert "unchanged" in page


def test_weights_for_sequences_are_not_for_images(tmp_path) -> None:
    """What a network of one axis has learned is not offered to one of two."""
    above = Request("tiny-wave", "tiny-filter", settings={"train.epochs": 1})
    child = Request("tiny-grating", "tiny-filter", parent=above, trained=False)
    with pytest.raises(ConfigError, match=r"\(1, 1, 2, 'sequence'\).*\(1, 2, 2, 'sequence'\)"):
        run(resolve(child), Place(tmp_path))
