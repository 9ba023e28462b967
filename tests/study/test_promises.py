"""Thresholds from held-out scores, and the alarms they raise, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from study.promises import RATES, cross_fitted, with_holdout


def row(category: str = "a", good: int = 10, **more: Any) -> dict[str, Any]:
    scores = [*range(good), 100.0, 2.5]
    return {"category": category, "scores": scores, "labels": [0] * good + [1, 1], **more}


def test_alarms_are_counted_above_the_conformal_threshold() -> None:
    """Of 19 held-out scores 0 ... 18, the largest is the threshold for 5 %, the second largest for 10 %."""
    met = with_holdout([row(holdout_scores=[float(score) for score in range(19)], good=25)])
    assert [each.rate for each in met] == list(RATES)
    by_rate = {each.rate: each for each in met}
    assert (by_rate[0.05].alarms, by_rate[0.05].images, by_rate[0.05].promised) == (6, 25, pytest.approx(0.05))
    assert (by_rate[0.10].alarms, by_rate[0.10].promised) == (7, pytest.approx(0.10))
    assert by_rate[0.10].found == 0.5
    assert by_rate[0.01].promised > 0.01
    low, high = by_rate[0.05].interval
    assert low < 6 / 25 < high


def test_cross_fitting_pools_the_folds_of_a_category() -> None:
    folds = [{"category": "a", "holdout_scores": [float(each)]} for each in range(9)]
    folds += [{"category": "b", "holdout_scores": [1000.0] * 30}]
    met = cross_fitted([row()], folds)
    assert {each.held_out for each in met} == {9}
    assert met[-1].alarms == 1  # 9 of the good 0 ... 9 lies above the largest, 8


def test_the_promise_is_kept_on_average() -> None:
    random = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        scores = random.normal(size=60)
        rows.append(
            {"category": "a", "scores": [*scores[:40], 9.0], "labels": [0] * 40 + [1], "holdout_scores": [*scores[40:]]}
        )
    for rate in (0.05, 0.10):
        met = [each for each in with_holdout(rows) if each.rate == rate]
        assert sum(each.alarms for each in met) / sum(each.images for each in met) <= rate + 0.01
