"""Counts of a score curve compared with loops, and the weights of the regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.evaluation.score_curve import area_under_pro, area_under_roc, region_weights, score_curve

scores = st.lists(st.integers(-4, 4).map(float), max_size=30)


@given(scores, scores)
def test_the_counts_equal_those_of_loops(good: list[float], defective: list[float]) -> None:
    curve = score_curve(np.array(good), np.array(defective))
    thresholds = sorted(set(defective))
    assert (curve.n_good, curve.n_defective) == (len(good), len(defective))
    assert curve.tied.tolist() == [sum(score == at for score in defective) for at in thresholds]
    assert curve.true_positives.tolist() == [sum(score >= at for score in defective) for at in thresholds]
    assert curve.false_positives.tolist() == [sum(score >= at for score in good) for at in thresholds]
    assert curve.false_above.tolist() == [sum(score > at for score in good) for at in thresholds]
    assert curve.overlap is None
    assert curve.defined == (len(good) > 0 and len(defective) > 0)


def test_the_overlap_is_the_share_of_the_weights_at_each_score() -> None:
    curve = score_curve(np.array([0.0]), np.array([2.0, 1.0, 2.0]), np.array([0.5, 1.0, 0.5]))
    assert curve.overlap is not None
    assert curve.overlap.tolist() == [0.5, 0.5]
    assert area_under_pro(curve, 0.3) == pytest.approx(1.0)


def test_areas_are_none_without_both_classes_or_without_overlap() -> None:
    assert area_under_roc(score_curve(np.empty(0), np.ones(2))) is None
    assert area_under_pro(score_curve(np.ones(2), np.ones(2)), 0.3) is None


def test_the_weights_of_a_region_are_the_inverse_of_its_size() -> None:
    masks = np.zeros((3, 3, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = True  # connected diagonally: a region of two pixels
    masks[2, 0, :3] = masks[2, 2, 3] = True  # a region of three pixels and one of a single pixel
    assert region_weights(masks).tolist() == [0.5, 0.5, 1 / 3, 1 / 3, 1 / 3, 1.0]
