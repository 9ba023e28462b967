"""Paired comparisons: AUROC by counting pairs, and a bootstrap that agrees with one written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from reconpatch.evaluation.comparison import auroc_difference, resampled_differences, resampled_means, wins


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_mean_of_wins_is_auroc(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(each) for each in zip(*pairs, strict=True))
    if len(set(labels.tolist())) < 2:
        return
    assert wins(scores, labels).mean() == pytest.approx(roc_auc_score(labels, scores))


def test_resampled_means_are_those_of_images_drawn_one_by_one() -> None:
    random = np.random.default_rng(0)
    pairs = random.normal(size=(7, 12))
    written_out = [
        pairs[np.ix_(random.integers(7, size=7), random.integers(12, size=12))].mean() for _ in range(20_000)
    ]
    found = resampled_means(pairs, np.random.default_rng(1), 20_000)
    layers = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(found, layers), np.quantile(written_out, layers), atol=0.02)


def test_a_table_of_one_value_has_no_spread() -> None:
    found = resampled_means(np.full((3, 4), 0.25), np.random.default_rng(0), 100)
    np.testing.assert_allclose(found, 0.25)


def written_out(ours: np.ndarray, other: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """DeLong's difference and standard error, from the tables of wins and the covariance matrices of his paper."""
    tables = [wins(each, labels) for each in (ours, other)]
    across = np.cov([table.mean(axis=1) for table in tables])
    down = np.cov([table.mean(axis=0) for table in tables])
    matrix = across / len(tables[0]) + down / tables[0].shape[1]
    contrast = np.array([1.0, -1.0])
    return tables[0].mean() - tables[1].mean(), float(np.sqrt(contrast @ matrix @ contrast))


@given(st.integers(0, 10_000), st.booleans())
def test_delongs_variance_is_that_of_his_matrices(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], random.integers(2, 30, size=2))
    ours, other = random.normal(size=(2, len(labels))) + labels
    if ties:
        ours, other = ours.round(), other.round()
    found = auroc_difference(ours, other, labels)
    value, deviation = written_out(ours, other, labels)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.deviation == pytest.approx(deviation, abs=1e-9)


def test_delongs_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 40])
    covered, refused = 0, 0
    for _ in range(600):
        shared = random.normal(size=100)
        ours, other = (labels + 0.7 * shared + 0.7 * random.normal(size=100) for _ in range(2))  # equally good
        found = auroc_difference(ours, other, labels)
        covered += found.low <= 0.0 <= found.high
        refused += found.p_value is not None and found.p_value < 0.05
    assert 0.92 <= covered / 600 <= 0.98
    assert covered + refused == 600


def test_models_that_rank_alike_do_not_differ() -> None:
    scores, labels = np.arange(8.0), np.array([0, 1, 0, 1, 0, 1, 1, 0])
    found = auroc_difference(scores, 3.0 * scores + 1.0, labels)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, None)


def test_too_few_images_and_other_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two good and two defective"):
        auroc_difference([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0, 1, 1])
    with pytest.raises(ValueError, match="one label per score"):
        auroc_difference([0.0, 1.0], [0.0, 1.0], [0, 1, 1])


def test_the_bootstrap_agrees_with_delong_about_auroc() -> None:
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [80, 60])
    ours, other = random.normal(size=(2, 140)) + labels * np.array([[1.5], [0.8]])

    def metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        return {"auroc": float(wins(scores, truth).mean()), "never": None}

    found = resampled_differences(metrics, ours, other, labels, resamples=2000)
    expected = auroc_difference(ours, other, labels)
    assert set(found) == {"auroc"}
    assert found["auroc"].value == pytest.approx(expected.value)
    assert found["auroc"].deviation == pytest.approx(expected.deviation, rel=0.1)
    assert found["auroc"].low == pytest.approx(expected.low, abs=0.02)
    assert found["auroc"].high == pytest.approx(expected.high, abs=0.02)
