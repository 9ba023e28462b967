"""Statistics, threshold and predictions of a category's model."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.detector.model import Model, calibrate, normalize, predict
from tests.reconpatch.detector.models import maps, model


def test_with_patch_fusion_the_statistics_are_median_and_mad_of_the_patch_scores() -> None:
    fit = maps(0, 30)
    normalized, statistics = normalize(model(), fit)
    for member, scores, of_member in zip(normalized.members, fit, statistics, strict=True):
        median = np.median(scores.astype(np.float64))
        assert member.median == pytest.approx(median)
        assert member.mad == pytest.approx(np.median(np.abs(scores.astype(np.float64) - median)))
        assert member.beta == 1.4826
        assert not of_member.fallback


def test_with_image_fusion_the_statistics_are_those_of_the_largest_scores_of_the_images() -> None:
    fit = maps(0, 30)
    normalized, _ = normalize(model(fusion="image"), fit)
    largest = fit[0].reshape(30, -1).max(axis=1).astype(np.float64)
    assert normalized.members[0].median == pytest.approx(np.median(largest))


def test_scores_without_spread_are_an_error_that_names_category_and_member() -> None:
    with pytest.raises(ValueError, match="nut=1, net1: All"):
        normalize(model(), [maps(0, 5)[0], np.ones((5, 3, 3), np.float32)])


def test_a_prediction_compares_the_score_of_equation_11_with_the_threshold(fitted: Model) -> None:
    new = maps(2, 25, ((6, 6), (6, 6)))
    prediction = predict(fitted, new)
    fused = np.mean(
        [(scores - m.median) / (1.4826 * m.mad) for scores, m in zip(new, fitted.members, strict=True)],  # type: ignore[operator]
        axis=0,
    )
    np.testing.assert_allclose(prediction.scores, fused.reshape(25, -1).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(prediction.fused, fused, rtol=1e-4, atol=1e-5)
    calibration = np.array(fitted.holdout_scores)
    assert prediction.p_values is not None
    assert prediction.is_anomaly is not None
    assert prediction.p_values.tolist() == [(1 + (calibration >= score).sum()) / 41 for score in prediction.scores]
    assert fitted.threshold == sorted(calibration)[36]  # r = ⌈41 · 0.9⌉ = 37
    assert prediction.is_anomaly.tolist() == [score > fitted.threshold for score in prediction.scores]
    for number in range(25):
        row, col = np.unravel_index(prediction.fused[number].argmax(), (6, 6))
        assert (prediction.peaks.row[number], prediction.peaks.col[number]) == (row, col)


def test_with_image_fusion_the_score_is_the_mean_of_the_members() -> None:
    normalized, _ = normalize(model(fusion="image"), maps(0, 30))
    prediction = predict(normalized, maps(2, 5))
    np.testing.assert_allclose(prediction.scores, prediction.member_scores.mean(axis=0))


def test_the_prediction_of_an_image_does_not_depend_on_its_batch(fitted: Model) -> None:
    new = maps(3, 6)
    together = predict(fitted, new)
    for number in range(6):
        alone = predict(fitted, [scores[number : number + 1] for scores in new])
        assert alone.scores[0] == together.scores[number]
        assert np.array_equal(alone.fused[0], together.fused[number])


def test_without_calibration_images_there_is_no_threshold() -> None:
    normalized, _ = normalize(model(), maps(0, 30))
    calibrated = calibrate(normalized, [])
    assert (calibrated.threshold, calibrated.false_alarm_bound, calibrated.holdout_scores) == (None, None, ())
    prediction = predict(calibrated, maps(2, 3))
    assert prediction.p_values is prediction.is_anomaly is None


def test_a_prediction_without_statistics_is_an_error() -> None:
    with pytest.raises(ValueError, match="nut=1, net0: the model has no median and MAD"):
        predict(model(), maps(0, 2))
