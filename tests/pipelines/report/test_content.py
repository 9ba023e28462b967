"""The content of a page: all images except training images, the highest score first, and rendered images."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.report.category import PageRequest, _content
from pipelines.report.content import CategoryContent
from pipelines.report.subject import ReportSource
from pipelines.storage.store import Store
from tests.pipelines.runs import Finished, rows_of


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def content(finished: Finished, data: Path, report: Path) -> CategoryContent:
    """Return the content for a category of the finished run, with the same run as the comparison run."""
    source = ReportSource.of(str(finished.out), str(data))
    request = PageRequest(
        source=source,
        category="cloth",
        index=source.index()["cloth"],
        metrics=(),
        night=None,
        neighbors=(None, None),
        beside=source,
        before=None,
    )
    content = _content(request, Store.of(str(report)))
    assert content is not None
    return content


def test_images_are_sorted_by_score_and_training_images_are_left_out(
    content: CategoryContent, finished: Finished
) -> None:
    rows = [row for row in rows_of(finished.out / "scores/fused/cloth.parquet") if row["split"] != "train"]
    rows.sort(key=lambda row: -row["score"])
    assert [(image.image_path, image.score) for image in content.images] == [
        (row["image_path"], row["score"]) for row in rows
    ]


def test_groups_contain_the_scores_of_these_images_and_of_the_calibration_images(content: CategoryContent) -> None:
    for label, scores in ((0, content.groups.good), (1, content.groups.defective)):
        assert scores == tuple(sorted(image.score for image in content.images if image.label == label))
    assert content.groups.heldout == content.model.holdout_scores
    assert content.beside == content.groups  # The comparison run is the same run.


def test_every_image_of_a_gallery_has_a_card_and_an_image_file(content: CategoryContent, report: Path) -> None:
    assert content.galleries
    for shown in content.galleries:
        assert [card.image for card in shown.cards] == list(shown.gallery.images)
        for card in shown.cards:
            assert card.picture is not None
            assert (report / card.picture).is_file()


def test_the_color_scale_includes_the_threshold(content: CategoryContent) -> None:
    assert content.model.threshold is not None
    assert content.scale.low == 0.0  # By equation 11, 0 is the median of the good patches.
    assert content.scale.high >= 1.5 * content.model.threshold
