"""Tests of thresholds from held-out scores; the false positives are counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from study.guarantees import RATES, cross_fitted, with_holdout
from study.results import TrialResult
from tests.study.results import result


def on_test_set(category: str = "a", good: int = 10, **changes: Any) -> TrialResult:
    """Return a result whose good test images have the scores 0, 1, 2, ... and two defective ones 100 and 2.5.

    Args:
        category: Name of the category.
        good: Number of good test images.
        **changes: Field of `TrialResult` -> its value.
    """
    scores = [*(float(score) for score in range(good)), 100.0, 2.5]
    return result(category, scores=scores, labels=[0] * good + [1, 1], **changes)


def test_images_above_the_conformal_threshold_are_counted() -> None:
    """With the held-out scores 0 to 18, the largest is the threshold for 5 %, the second largest that for 10 %."""
    rates = with_holdout([on_test_set(holdout_scores=[float(score) for score in range(19)], good=25)])
    assert [rate.rate for rate in rates] == list(RATES)
    by_rate = {rate.rate: rate for rate in rates}
    assert (by_rate[0.05].alarms, by_rate[0.05].images, by_rate[0.05].bound) == (6, 25, pytest.approx(0.05))
    assert (by_rate[0.10].alarms, by_rate[0.10].bound) == (7, pytest.approx(0.10))
    assert by_rate[0.10].detected == 0.5
    assert by_rate[0.01].bound > 0.01
    low, high = by_rate[0.05].interval
    assert low < 6 / 25 < high


def test_cross_fitting_pools_the_folds_of_a_category() -> None:
    folds = [result("a", holdout_scores=[float(score)]) for score in range(9)]
    folds += [result("b", holdout_scores=[1000.0] * 30)]
    rates = cross_fitted([on_test_set()], folds)
    assert {rate.held_out for rate in rates} == {9}
    assert rates[-1].alarms == 1  # only the good test image with score 9 is above the largest held-out score, 8


def test_the_bound_holds_on_average() -> None:
    random = np.random.default_rng(0)
    results = []
    for _ in range(300):
        scores = random.normal(size=60).tolist()
        results.append(result(scores=[*scores[:40], 9.0], labels=[0] * 40 + [1], holdout_scores=scores[40:]))
    for target in (0.05, 0.10):
        rates = [rate for rate in with_holdout(results) if rate.rate == target]
        assert sum(rate.alarms for rate in rates) / sum(rate.images for rate in rates) <= target + 0.01
