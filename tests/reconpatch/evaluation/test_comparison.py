"""Paired comparisons of two models: pairwise counts, DeLong's intervals and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from reconpatch.evaluation.comparison import auroc_difference, resampled_differences, resampled_means, wins


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_mean_of_wins_is_auroc(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    if len(set(labels.tolist())) < 2:
        return
    assert wins(scores, labels).mean() == pytest.approx(roc_auc_score(labels, scores))


def test_resampled_means_are_distributed_like_those_of_images_drawn_one_by_one() -> None:
    random = np.random.default_rng(0)
    pairs = random.normal(size=(7, 12))
    expected = [pairs[np.ix_(random.integers(7, size=7), random.integers(12, size=12))].mean() for _ in range(20_000)]
    means = resampled_means(pairs, np.random.default_rng(1), 20_000)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(means, levels), np.quantile(expected, levels), atol=0.02)


def test_the_resampled_means_of_a_constant_table_are_constant() -> None:
    means = resampled_means(np.full((3, 4), 0.25), np.random.default_rng(0), 100)
    np.testing.assert_allclose(means, 0.25)


def delong_by_matrices(ours: np.ndarray, other: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return DeLong's difference and standard error from the tables of wins and the paper's covariance matrices."""
    tables = [wins(scores, labels) for scores in (ours, other)]
    across = np.cov([table.mean(axis=1) for table in tables])
    down = np.cov([table.mean(axis=0) for table in tables])
    matrix = across / len(tables[0]) + down / tables[0].shape[1]
    contrast = np.array([1.0, -1.0])
    return tables[0].mean() - tables[1].mean(), float(np.sqrt(contrast @ matrix @ contrast))


@given(st.integers(0, 10_000), st.booleans())
def test_delongs_variance_equals_that_of_the_covariance_matrices(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], random.integers(2, 30, size=2))
    ours, other = random.normal(size=(2, len(labels))) + labels
    if ties:
        ours, other = ours.round(), other.round()
    difference = auroc_difference(ours, other, labels)
    value, deviation = delong_by_matrices(ours, other, labels)
    assert difference.value == pytest.approx(value, abs=1e-12)
    assert difference.deviation == pytest.approx(deviation, abs=1e-9)


def test_delongs_interval_has_its_nominal_coverage() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 40])
    covered, significant = 0, 0
    for _ in range(600):
        shared = random.normal(size=100)
        ours, other = (labels + 0.7 * shared + 0.7 * random.normal(size=100) for _ in range(2))  # equally good
        difference = auroc_difference(ours, other, labels)
        covered += difference.low <= 0.0 <= difference.high
        significant += difference.p_value is not None and difference.p_value < 0.05
    assert 0.92 <= covered / 600 <= 0.98
    assert covered + significant == 600


def test_models_that_rank_images_in_the_same_order_do_not_differ() -> None:
    scores, labels = np.arange(8.0), np.array([0, 1, 0, 1, 0, 1, 1, 0])
    difference = auroc_difference(scores, 3.0 * scores + 1.0, labels)
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, None)


def test_too_few_images_and_missing_scores_are_errors() -> None:
    with pytest.raises(ValueError, match="at least two good and two defective images; got 1 and 2"):
        auroc_difference([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0, 1, 1])
    with pytest.raises(ValueError, match="one label per score"):
        auroc_difference([0.0, 1.0], [0.0, 1.0], [0, 1, 1])


def test_for_auroc_the_bootstrap_agrees_with_delong() -> None:
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [80, 60])
    ours, other = random.normal(size=(2, 140)) + labels * np.array([[1.5], [0.8]])

    def metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        return {"auroc": float(wins(scores, truth).mean()), "never": None}

    differences = resampled_differences(metrics, ours, other, labels, resamples=2000)
    expected = auroc_difference(ours, other, labels)
    assert set(differences) == {"auroc"}
    assert differences["auroc"].value == pytest.approx(expected.value)
    assert differences["auroc"].deviation == pytest.approx(expected.deviation, rel=0.1)
    assert differences["auroc"].low == pytest.approx(expected.low, abs=0.02)
    assert differences["auroc"].high == pytest.approx(expected.high, abs=0.02)
