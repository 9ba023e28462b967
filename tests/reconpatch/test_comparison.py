"""Paired comparisons: AUROC by counting pairs, and a bootstrap that agrees with one written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from reconpatch.comparison import resampled_means, wins


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
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(found, levels), np.quantile(written_out, levels), atol=0.02)


def test_a_table_of_one_value_has_no_spread() -> None:
    found = resampled_means(np.full((3, 4), 0.25), np.random.default_rng(0), 100)
    np.testing.assert_allclose(found, 0.25)
