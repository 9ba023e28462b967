"""A category's model: its statistics, its threshold, and its predictions."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.detector.model import Model, calibrate, normalize, predict
from tests.reconpatch.detector.models import maps, model


def test_statistics_are_median_and_mad_of_the_fit_images_patches() -> None:
    fit = maps(0, 30)
    found, statistics = normalize(model(), fit)
    for member, scores, each in zip(found.members, fit, statistics, strict=True):
        median = np.median(scores.astype(np.float64))
        assert member.median == pytest.approx(median)
        assert member.mad == pytest.approx(np.median(np.abs(scores.astype(np.float64) - median)))
        assert member.beta == 1.4826
        assert not each.fallback


def test_with_image_fusion_they_are_those_of_the_fit_images_largest_scores() -> None:
    fit = maps(0, 30)
    found, _ = normalize(model(fusion="image"), fit)
    largest = fit[0].reshape(30, -1).max(axis=1).astype(np.float64)
    assert found.members[0].median == pytest.approx(np.median(largest))


def test_scores_without_spread_name_category_and_member() -> None:
    with pytest.raises(ValueError, match="nut=1, net1: All"):
        normalize(model(), [maps(0, 5)[0], np.ones((5, 3, 3), np.float32)])


def test_the_verdict_is_equation_11_against_the_threshold(fitted: Model) -> None:
    new = maps(2, 25, ((6, 6), (6, 6)))
    found = predict(fitted, new)
    fused = np.mean(
        [(each - m.median) / (1.4826 * m.mad) for each, m in zip(new, fitted.members, strict=True)],  # type: ignore[operator]
        axis=0,
    )
    np.testing.assert_allclose(found.scores, fused.reshape(25, -1).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.fused, fused, rtol=1e-4, atol=1e-5)
    held = np.array(fitted.holdout_scores)
    assert found.p_values is not None
    assert found.is_anomaly is not None
    assert found.p_values.tolist() == [(1 + (held >= score).sum()) / 41 for score in found.scores]
    assert fitted.threshold == sorted(held)[36]  # r = ⌈41 · 0.9⌉ = 37
    assert found.is_anomaly.tolist() == [score > fitted.threshold for score in found.scores]
    for number in range(25):
        row, col = np.unravel_index(found.fused[number].argmax(), (6, 6))
        assert (found.peaks.row[number], found.peaks.col[number]) == (row, col)


def test_an_image_score_of_image_fusion_is_the_mean_of_the_members() -> None:
    found, _ = normalize(model(fusion="image"), maps(0, 30))
    judged = predict(found, maps(2, 5))
    np.testing.assert_allclose(judged.scores, judged.member_scores.mean(axis=0))


def test_what_is_said_of_an_image_does_not_depend_on_its_batch(fitted: Model) -> None:
    new = maps(3, 6)
    together = predict(fitted, new)
    for number in range(6):
        alone = predict(fitted, [each[number : number + 1] for each in new])
        assert alone.scores[0] == together.scores[number]
        assert np.array_equal(alone.fused[0], together.fused[number])


def test_without_held_out_images_nothing_is_promised() -> None:
    found, _ = normalize(model(), maps(0, 30))
    calibrated = calibrate(found, [])
    assert (calibrated.threshold, calibrated.false_alarm_bound, calibrated.holdout_scores) == (None, None, ())
    judged = predict(calibrated, maps(2, 3))
    assert judged.p_values is judged.is_anomaly is None


def test_a_model_without_statistics_says_so() -> None:
    with pytest.raises(ValueError, match="nut=1, net0: the model has no median and MAD"):
        predict(model(), maps(0, 2))
