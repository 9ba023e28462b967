"""Tests of gains and their intervals against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.intervals import gain
from study.results import TrialResult
from tests.study.results import result


def trials(shift: float, n: int = 60) -> list[TrialResult]:
    """Return results of two categories with two seeds each; scores are rounded so that there are ties.

    Args:
        shift: Mean difference between the scores of defective and good images.
        n: Number of test images of each category.
    """
    results = []
    for category in ("a", "b"):
        for seed in (0, 1):
            random = np.random.default_rng((seed, ord(category)))
            labels = np.arange(n) % 3 % 2
            scores = (random.normal(size=n) + shift * labels).round(1)
            paths = [f"{category}/{number}" for number in range(n)]
            results.append(result(category, seed=seed, scores=scores.tolist(), labels=labels.tolist(), paths=paths))
    return results


def test_the_gain_is_the_mean_difference_of_auroc() -> None:
    ours, reference = trials(1.5), trials(0.5)
    areas = [[roc_auc_score(trial.labels, trial.scores) for trial in results] for results in (ours, reference)]
    gained = gain(ours, reference)
    assert gained.mean == pytest.approx(100 * (np.mean(areas[0]) - np.mean(areas[1])))
    assert gained.low < gained.mean < gained.high


def test_the_gain_over_the_same_results_is_zero() -> None:
    gained = gain(trials(1.0), trials(1.0))
    assert (gained.mean, gained.low, gained.high) == (0.0, 0.0, 0.0)


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the share of pairs in which the defective image scores higher; 100 times faster than scikit-learn.

    Args:
        labels: 0 for good, 1 for defective, (n,).
        scores: Anomaly scores, (n,).
    """
    defective, good = scores[labels == 1][:, None], scores[labels == 0]
    return float(np.mean((defective > good) + 0.5 * (defective == good)))


def test_the_interval_equals_that_of_an_explicit_bootstrap() -> None:
    ours, reference = trials(1.5), trials(0.5)
    random = np.random.default_rng(3)
    means = []
    for _ in range(600):
        differences = []
        for category in ("a", "b"):
            pairs = [pair for pair in zip(ours, reference, strict=True) if pair[0].category == category]
            labels = np.array(pairs[0][0].labels)
            drawn = np.concatenate(
                [random.choice(np.flatnonzero(labels == label), sum(labels == label)) for label in (0, 1)]
            )
            differences += [
                auroc(labels[drawn], np.array(a.scores)[drawn]) - auroc(labels[drawn], np.array(b.scores)[drawn])
                for a, b in pairs
            ]
        means.append(100 * np.mean(differences))
    gained = gain(ours, reference)
    np.testing.assert_allclose([gained.low, gained.high], np.quantile(means, [0.025, 0.975]), atol=0.8)


def test_different_images_or_seeds_are_an_error() -> None:
    with pytest.raises(ValueError, match="a: the two recipes"):
        gain(trials(1.0), trials(1.0, n=30))
    with pytest.raises(ValueError, match="b: the two recipes"):
        gain(trials(1.0), trials(1.0)[:-1])
