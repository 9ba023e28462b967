"""Image scores, grouped by label."""

from __future__ import annotations

import pytest

from pipelines.report.rows import Peak, ScoredImage
from pipelines.report.score_groups import ScoreGroups
from reconpatch.evaluation.metrics import d_prime


def scored(score: float, label: int | None) -> ScoredImage:
    return ScoredImage(
        image_path=f"{score}.png",
        split="test",
        label=label,
        score=score,
        p_value=None,
        is_anomaly=None,
        model_version="v1",
        peak=Peak(),
    )


def test_scores_are_grouped_by_label_and_sorted() -> None:
    images = [scored(3.0, 1), scored(2.0, 0), scored(1.0, 0), scored(0.5, None)]
    groups = ScoreGroups.of(images, [5.0, 4.0])
    assert groups.by_name() == {
        "heldout": (4.0, 5.0),
        "good": (1.0, 2.0),
        "defective": (3.0,),
        "unlabeled": (0.5,),
    }
    assert sorted(groups.every()) == [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_d_prime_is_computed_from_the_labeled_images() -> None:
    groups = ScoreGroups(heldout=(9.0,), good=(1.0, 2.0), defective=(3.0, 5.0), unlabeled=(0.0,))
    assert groups.d_prime == pytest.approx(d_prime([1.0, 2.0, 3.0, 5.0], [0, 0, 1, 1]))
    assert ScoreGroups(good=(1.0, 2.0)).d_prime is None
