"""Gains and their intervals: exact where they can be, and honest about what is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.intervals import gain


def row(category: str, seed: int, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    paths = [f"{category}/{number}" for number in range(len(labels))]
    return {"category": category, "seed": seed, "scores": scores.tolist(), "labels": labels.tolist(), "paths": paths}


def trials(shift: float, n: int = 60) -> list[dict[str, Any]]:
    """Two categories, two seeds; defective images score higher by `shift`, rounded so that there are ties."""
    found = []
    for category in ("a", "b"):
        for seed in (0, 1):
            random = np.random.default_rng((seed, ord(category)))
            labels = np.arange(n) % 3 % 2
            found.append(row(category, seed, (random.normal(size=n) + shift * labels).round(1), labels))
    return found


def test_the_gain_is_the_mean_difference_of_auroc() -> None:
    ours, others = trials(1.5), trials(0.5)
    areas = [[roc_auc_score(each["labels"], each["scores"]) for each in rows] for rows in (ours, others)]
    found = gain(ours, others)
    assert found.mean == pytest.approx(100 * (np.mean(areas[0]) - np.mean(areas[1])))
    assert found.low < found.mean < found.high


def test_a_recipe_gains_nothing_on_itself() -> None:
    found = gain(trials(1.0), trials(1.0))
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """As scikit-learn's, in a hundredth of its time: how often a defective image is above a good one."""
    defective, good = scores[labels == 1][:, None], scores[labels == 0]
    return float(np.mean((defective > good) + 0.5 * (defective == good)))


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    ours, others = trials(1.5), trials(0.5)
    random = np.random.default_rng(3)
    means = []
    for _ in range(600):
        differences = []
        for category in ("a", "b"):
            mine, theirs = ([each for each in rows if each["category"] == category] for rows in (ours, others))
            labels = np.array(mine[0]["labels"])
            drawn = np.concatenate(
                [random.choice(np.flatnonzero(labels == label), sum(labels == label)) for label in (0, 1)]
            )
            differences += [
                auroc(labels[drawn], np.array(a["scores"])[drawn]) - auroc(labels[drawn], np.array(b["scores"])[drawn])
                for a, b in zip(mine, theirs, strict=True)
            ]
        means.append(100 * np.mean(differences))
    found = gain(ours, others)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.8)


def test_other_images_or_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="a: the two recipes"):
        gain(trials(1.0), trials(1.0, n=30))
    with pytest.raises(ValueError, match="b: the two recipes"):
        gain(trials(1.0), trials(1.0)[:-1])
