"""Drift between new scores and the scores of the calibration images."""

from __future__ import annotations

import numpy as np
import pytest

from reconpatch.detector.thresholds import conformal_threshold, p_values
from reconpatch.evaluation.drift import Drift, drift_of


def drift(new: np.ndarray, calibration: np.ndarray) -> Drift:
    """Return the drift of new scores against calibration scores, with the threshold of a 5 % rate."""
    threshold = conformal_threshold(calibration, 0.05)
    assert threshold is not None
    rarity = p_values(new, calibration)
    assert rarity is not None
    comparison = drift_of(new, calibration, threshold.value, rarity)
    assert comparison is not None
    return comparison


def test_scores_of_the_same_distribution_do_not_drift() -> None:
    random = np.random.default_rng(0)
    comparison = drift(random.normal(size=2000), random.normal(size=2000))
    assert comparison.ks < 0.05
    assert comparison.ks_p_value > 0.01
    assert comparison.rare == pytest.approx(0.05, abs=0.02)
    assert comparison.above_threshold == pytest.approx(0.05, abs=0.02)


def test_a_shift_of_the_scores_changes_every_measure() -> None:
    random = np.random.default_rng(0)
    comparison = drift(random.normal(1.5, 1.0, size=200), random.normal(size=200))
    assert comparison.ks > 0.4
    assert comparison.ks_p_value < 1e-6
    assert comparison.rare > 0.2
    assert comparison.above_threshold is not None
    assert comparison.above_threshold > 0.2
    assert comparison.quantiles[1] - comparison.holdout_quantiles[1] == pytest.approx(1.5, abs=0.3)


def test_the_distance_is_the_largest_gap_between_the_empirical_distribution_functions() -> None:
    random = np.random.default_rng(1)
    new, calibration = random.normal(size=30).round(1), random.normal(0.3, 1.2, size=40).round(1)
    gaps = [abs((new <= at).mean() - (calibration <= at).mean()) for at in np.concatenate([new, calibration])]
    comparison = drift_of(new, calibration, None, np.ones(30))
    assert comparison is not None
    assert comparison.ks == pytest.approx(max(gaps))
    assert comparison.above_threshold is None


@pytest.mark.parametrize(("new", "calibration"), [([], [1.0]), ([1.0], [])])
def test_without_scores_there_is_no_drift(new: list[float], calibration: list[float]) -> None:
    assert drift_of(new, calibration, None, np.ones(len(new))) is None


def test_scores_that_are_not_finite_and_missing_p_values_are_errors() -> None:
    with pytest.raises(ValueError, match="Drift needs finite scores"):
        drift_of([np.nan], [1.0], None, [1.0])
    with pytest.raises(ValueError, match="got 0 p-values and 1 scores"):
        drift_of([1.0], [1.0], None, [])
