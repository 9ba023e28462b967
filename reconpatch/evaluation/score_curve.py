"""Curve of true and false positives over all thresholds, and the areas and maxima computed from it.

Only the distinct scores of the *defective* samples are used as thresholds. Between two of them, only the number of
false positives changes: recall and overlap are constant and precision falls, so every curve is determined by its values
at these thresholds. The good samples are only sorted and counted. The result is exact and much cheaper than ranking all
pixels together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class ScoreCurve:
    """Counts at the T distinct scores of the defective samples (images or pixels), in ascending order.

    Attributes:
        n_good: Number of good samples.
        n_defective: Number of defective samples.
        tied: (T,) int64 number of defective samples with exactly this score.
        true_positives: (T,) int64 number of defective samples with this score or a higher one.
        false_positives: (T,) int64 number of good samples with this score or a higher one.
        false_above: (T,) int64 number of good samples with a higher score.
        overlap: (T,) float64 share of the mean region overlap that this score adds; sums to 1. None for images.
    """

    n_good: int
    n_defective: int
    tied: npt.NDArray[np.int64]
    true_positives: npt.NDArray[np.int64]
    false_positives: npt.NDArray[np.int64]
    false_above: npt.NDArray[np.int64]
    overlap: npt.NDArray[np.float64] | None

    @property
    def defined(self) -> bool:
        """Whether there are good and defective samples; without both, no metric is defined."""
        return self.n_good > 0 and self.n_defective > 0


def score_curve(
    good: npt.NDArray[Any], defective: npt.NDArray[Any], weights: npt.NDArray[np.float64] | None = None
) -> ScoreCurve:
    """Return the curve of the scores of good and defective samples.

    Args:
        good: (g,) finite scores of the good samples. The array is sorted in place.
        defective: (d,) finite scores of the defective samples, in the dtype of `good`.
        weights: (d,) float64 contribution of each defective pixel to the region overlap, above 0: 1 / (size of its
            region). None for images, which have no overlap.

    Returns:
        The counts at each distinct score of the defective samples.
    """
    good.sort()
    if weights is None:
        defective = np.sort(defective)
    else:
        order = np.argsort(defective)
        defective, weights = defective[order], weights[order]
        del order  # frees 8 bytes per pixel
    starts_here = np.ones(len(defective), dtype=bool)
    np.not_equal(defective[1:], defective[:-1], out=starts_here[1:])
    starts = np.flatnonzero(starts_here)
    thresholds = defective[starts]
    overlap = None
    if weights is not None:
        overlap = np.add.reduceat(weights, starts)
        overlap /= overlap.sum()
    return ScoreCurve(
        n_good=len(good),
        n_defective=len(defective),
        tied=np.diff(starts, append=len(defective)),
        true_positives=len(defective) - starts,
        false_positives=len(good) - np.searchsorted(good, thresholds, side="left"),
        false_above=len(good) - np.searchsorted(good, thresholds, side="right"),
        overlap=overlap,
    )


def area_under_roc(curve: ScoreCurve) -> float | None:
    """Return the area under the ROC curve.

    Args:
        curve: Curve of the scores.

    Returns:
        Area in [0, 1]; None without samples of both classes.
    """
    if not curve.defined:
        return None
    # The area is Mann and Whitney's count: twice the number of good samples below each defective one, plus once the
    # number of those with the same score. The count is exact in integers: 2 · good · defective fits int64 up to four
    # billion pixels.
    twice_won = int((curve.tied * (2 * curve.n_good - curve.false_positives - curve.false_above)).sum())
    return twice_won / (2 * curve.n_good * curve.n_defective)


def average_precision(curve: ScoreCurve) -> float | None:
    """Return the average precision Σ (R_i - R_{i-1}) P_i, with recall R_i and precision P_i at threshold i.

    Args:
        curve: Curve of the scores.

    Returns:
        Average precision in [0, 1]; None without samples of both classes.
    """
    if not curve.defined:
        return None
    precision = curve.true_positives / (curve.true_positives + curve.false_positives)
    return min(float((curve.tied * precision).sum()) / curve.n_defective, 1.0)


def largest_f1(curve: ScoreCurve) -> float | None:
    """Return the largest F1 over all thresholds.

    Args:
        curve: Curve of the scores.

    Returns:
        F1 in [0, 1]; None without samples of both classes.
    """
    if not curve.defined:
        return None
    f1 = 2 * curve.true_positives / (curve.true_positives + curve.false_positives + curve.n_defective)
    return float(f1.max())


def area_under_pro(curve: ScoreCurve, max_fpr: float) -> float | None:
    """Return the normalized area under the per-region-overlap curve, see `aupro`.

    Args:
        curve: Curve of the scores of all pixels, with overlap.
        max_fpr: False-positive rate up to which the curve is integrated, in (0, 1].

    Returns:
        Area in [0, 1]; None without good and defective pixels, or without overlap.
    """
    if not curve.defined or curve.overlap is None:
        return None
    # The overlap that a score adds counts for all false-positive rates from there to the limit. If good pixels have
    # the same score, the overlap rises along a ramp from `false_above` to `false_positives`, which the limit may cut.
    limit = max_fpr * curve.n_good
    before = curve.false_above < limit
    left = limit - curve.false_above[before]
    ramp = (curve.false_positives - curve.false_above)[before]
    on_ramp = np.minimum(left, ramp)
    lasting = left - on_ramp + on_ramp * on_ramp / (2.0 * np.maximum(ramp, 1))
    return min(float((curve.overlap[before] * lasting).sum()) / limit, 1.0)  # only rounding can exceed 1


def roc_corners(curve: ScoreCurve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the corners of the ROC curve.

    Args:
        curve: Curve of the scores, with samples of both classes.

    Returns:
        (2 T + 2,) float64 false-positive rates and true-positive rates, from (0, 0) to (1, 1).
    """
    # Samples with equal scores give a sloped segment, from the counts above the score to the counts that include it.
    false_rate = np.stack([curve.false_positives, curve.false_above], axis=1)[::-1, ::-1].ravel() / curve.n_good
    true_above = curve.true_positives - curve.tied
    true_rate = np.stack([curve.true_positives, true_above], axis=1)[::-1, ::-1].ravel() / curve.n_defective
    return np.concatenate([[0.0], false_rate, [1.0]]), np.concatenate([[0.0], true_rate, [1.0]])


def precision_recall_points(curve: ScoreCurve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall at the distinct scores of the defective samples, from the highest to the lowest.

    Args:
        curve: Curve of the scores, with samples of both classes.

    Returns:
        (T,) float64 precision and (T,) float64 recall, in [0, 1].
    """
    precision = curve.true_positives / (curve.true_positives + curve.false_positives)
    return precision[::-1], (curve.true_positives / curve.n_defective)[::-1]


def region_weights(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the weight 1 / (size of its region) of every defective pixel, for `score_curve`.

    Args:
        masks: (B, H, W) bool masks, True for defective pixels. Regions are 8-connected.

    Returns:
        (d,) float64 weights of the d defective pixels, in the order of `maps[masks]`.
    """
    weights = np.empty(np.count_nonzero(masks), dtype=np.float64)
    done = 0
    for mask in masks:
        if not mask.any():
            continue
        regions, _ = ndimage.label(mask, structure=_EIGHT_CONNECTED)
        names = regions[mask]
        weights[done : done + len(names)] = 1.0 / np.bincount(names)[names]
        done += len(names)
    return weights
