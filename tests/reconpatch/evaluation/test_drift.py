"""Drift: nothing where nothing has changed, and told where something has."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.detector.thresholds import conformal_threshold, p_values
from reconpatch.evaluation.drift import Drift, drift_of


def drift(today: np.ndarray, before: np.ndarray) -> Drift:
    threshold = conformal_threshold(before, 0.05)
    assert threshold is not None
    rarity = p_values(today, before)
    assert rarity is not None
    found = drift_of(today, before, threshold.value, rarity)
    assert found is not None
    return found


def test_scores_of_the_same_distribution_do_not_drift() -> None:
    random = np.random.default_rng(0)
    found = drift(random.normal(size=2000), random.normal(size=2000))
    assert found.ks < 0.05
    assert found.ks_p_value > 0.01
    assert found.rare == pytest.approx(0.05, abs=0.02)
    assert found.above_threshold == pytest.approx(0.05, abs=0.02)


def test_a_shift_is_seen_in_every_figure() -> None:
    random = np.random.default_rng(0)
    found = drift(random.normal(1.5, 1.0, size=200), random.normal(size=200))
    assert found.ks > 0.4
    assert found.ks_p_value < 1e-6
    assert found.rare > 0.2
    assert found.above_threshold is not None
    assert found.above_threshold > 0.2
    assert found.quantiles[1] - found.holdout_quantiles[1] == pytest.approx(1.5, abs=0.3)


def test_the_distance_is_the_largest_gap_of_the_two_step_functions() -> None:
    random = np.random.default_rng(1)
    today, before = random.normal(size=30).round(1), random.normal(0.3, 1.2, size=40).round(1)
    gaps = [abs((today <= at).mean() - (before <= at).mean()) for at in np.concatenate([today, before])]
    found = drift_of(today, before, None, np.ones(30))
    assert found is not None
    assert found.ks == pytest.approx(max(gaps))
    assert found.above_threshold is None


@pytest.mark.parametrize(("today", "before"), [([], [1.0]), ([1.0], [])])
def test_without_scores_there_is_no_drift(today: list[float], before: list[float]) -> None:
    assert drift_of(today, before, None, np.ones(len(today))) is None


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        drift_of([np.nan], [1.0], None, [1.0])
    with pytest.raises(ValueError, match="0 p-values of 1 scores"):
        drift_of([1.0], [1.0], None, [])
