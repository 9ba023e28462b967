"""Metrics that measure how well anomaly scores separate defective from good images and pixels.

An image or pixel is detected if its score is at or above the threshold, so equal scores are detected together. A metric
that is not defined for the data is None, never 0, 1 or NaN.

To add a metric, add a field to `ImageMetrics` or `PixelMetrics`, its value in `image_metrics` or `pixel_metrics`, and a
column to the schema of the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array
from reconpatch.evaluation.labeled_scores import by_class, checked
from reconpatch.evaluation.score_curve import (
    area_under_pro,
    area_under_roc,
    average_precision,
    largest_f1,
    precision_recall_points,
    region_weights,
    roc_corners,
    score_curve,
)


@dataclass(frozen=True)
class ImageMetrics:
    """Metrics over images. A metric that is not defined is None.

    Attributes:
        auroc: Area under the ROC curve, in [0, 1].
        ap: Average precision, in [0, 1].
        f1max: Largest F1 over all thresholds, in [0, 1].
        d_prime: Sensitivity index d' of eq. 12, 0 or more.
    """

    auroc: float | None
    ap: float | None
    f1max: float | None
    d_prime: float | None


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics over the pixels of all images. A metric that is not defined is None.

    Attributes:
        auroc: Area under the ROC curve, in [0, 1].
        ap: Average precision, in [0, 1].
        f1max: Largest F1 over all thresholds, in [0, 1].
        aupro: Area under the per-region-overlap curve, in [0, 1]; see `aupro`.
    """

    auroc: float | None
    ap: float | None
    f1max: float | None
    aupro: float | None


def image_metrics(scores: Array, labels: Array) -> ImageMetrics:
    """Return AUROC, average precision, largest F1 and d' (eq. 12) of image scores.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous. They are compared in their own dtype.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        The four metrics; each is None without images of both classes.

    Raises:
        ValueError: The shapes differ, a score is not finite, or a label is neither 0 nor 1.

    Examples:
        The defective images score 3 and 5, and one good image scores 4:

        >>> from reconpatch import image_metrics
        >>> metrics = image_metrics([1.0, 2.0, 4.0, 3.0, 5.0], [0, 0, 0, 1, 1])
        >>> round(metrics.auroc, 2), round(metrics.ap, 2), round(metrics.f1max, 2), round(metrics.d_prime, 2)
        (0.83, 0.83, 0.8, 1.47)
    """
    good, defective = by_class(scores, labels)
    separation = _d_prime(good, defective)  # before score_curve sorts `good`: the order of a sum affects its rounding
    curve = score_curve(good, defective)
    return ImageMetrics(area_under_roc(curve), average_precision(curve), largest_f1(curve), separation)


def image_auroc(scores: Array, labels: Array) -> float | None:
    """Return the area under the ROC curve over images.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        Area in [0, 1]; None without images of both classes.

    Raises:
        ValueError: As for `image_metrics`.
    """
    return area_under_roc(score_curve(*by_class(scores, labels)))


def image_ap(scores: Array, labels: Array) -> float | None:
    """Return the average precision Σ (R_i - R_{i-1}) P_i over images, with recall R_i and precision P_i.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        Average precision in [0, 1]; None without images of both classes.

    Raises:
        ValueError: As for `image_metrics`.
    """
    return average_precision(score_curve(*by_class(scores, labels)))


def roc(scores: Array, labels: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the corners of the ROC curve over images.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective); both classes must occur.

    Returns:
        (m,) float64 false-positive rates and (m,) float64 true-positive rates, from (0, 0) to (1, 1).

    Raises:
        ValueError: As for `image_metrics`.
    """
    return roc_corners(score_curve(*by_class(scores, labels)))


def precision_and_recall(scores: Array, labels: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall at the m distinct scores of the defective images, from the highest to the lowest.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective); both classes must occur.

    Returns:
        (m,) float64 precision and (m,) float64 recall, both in [0, 1].

    Raises:
        ValueError: As for `image_metrics`.
    """
    return precision_recall_points(score_curve(*by_class(scores, labels)))


def f1_max(scores: Array, labels: Array) -> float | None:
    """Return the largest F1 over all thresholds, over images.

    Args:
        scores: (n,) finite anomaly scores; higher is more anomalous.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        F1 in [0, 1]; None without images of both classes.

    Raises:
        ValueError: As for `image_metrics`.
    """
    return largest_f1(score_curve(*by_class(scores, labels)))


def d_prime(scores: Array, labels: Array) -> float | None:
    """Return d' = |μ_abnormal - μ_normal| / sqrt((σ²_abnormal + σ²_normal) / 2) over images (eq. 12).

    The standard deviations σ are those of the population (ddof 0).

    Args:
        scores: (n,) finite anomaly scores.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        d', 0 or more; None without images of both classes, or if both standard deviations are 0.

    Raises:
        ValueError: As for `image_metrics`.
    """
    return _d_prime(*by_class(scores, labels))


def pixel_metrics(maps: Array, masks: Array, max_fpr: float = 0.3, *, ignored: Array | None = None) -> PixelMetrics:
    """Return AUROC, average precision, largest F1 and AUPRO over the pixels of all images.

    The scores are sorted once for all metrics. In addition to the input, this needs memory for a copy of the scores and
    about 60 bytes per defective pixel.

    Args:
        maps: (B, H, W) finite anomaly maps, any real dtype; higher is more anomalous.
        masks: (B, H, W) masks: bool, or 0 (good pixel) and 1 (defective pixel). The mask of a good image is all 0.
        max_fpr: False-positive rate up to which the curve of `aupro` is integrated, in (0, 1].
        ignored: (B, H, W) pixels that are left out: bool, or 0 (counts) and 1 (left out). They are neither good nor
            defective, and separate regions. None leaves out no pixel.

    Returns:
        The four metrics; each is None without both good and defective pixels.

    Raises:
        ValueError: The shapes differ, a score is not finite, a mask or `ignored` has other values than 0 and 1, or
            max_fpr is out of range.

    Examples:
        A good image, and an image with a defect of two pixels of which the map detects one:

        >>> import numpy as np
        >>> from reconpatch import pixel_metrics
        >>> masks = np.array([[[0, 0], [0, 0]], [[1, 1], [0, 0]]])
        >>> maps = np.array([[[1.0, 2.0], [1.0, 1.0]], [[9.0, 2.0], [1.0, 1.0]]])
        >>> metrics = pixel_metrics(maps, masks)
        >>> round(metrics.auroc, 2), round(metrics.ap, 2), round(metrics.f1max, 2), round(metrics.aupro, 2)
        (0.96, 0.83, 0.8, 0.86)
    """
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(f"max_fpr must be above 0 and at most 1; got {max_fpr}.")
    scores, defects = checked(maps, masks, names=("maps", "masks"), ndim=3)
    good = ~defects
    if ignored is not None:
        counts = ~checked(maps, ignored, names=("maps", "ignored"), ndim=3)[1]
        defects, good = defects & counts, good & counts
    if not good.any() or not defects.any():
        return PixelMetrics(None, None, None, None)
    curve = score_curve(scores[good], scores[defects], region_weights(defects))
    return PixelMetrics(
        area_under_roc(curve), average_precision(curve), largest_f1(curve), area_under_pro(curve, max_fpr)
    )


def pixel_auroc(maps: Array, masks: Array) -> float | None:
    """Return the area under the ROC curve over the pixels of all images.

    Args:
        maps: (B, H, W) finite anomaly maps; higher is more anomalous.
        masks: (B, H, W) masks: bool, or 0 (good pixel) and 1 (defective pixel).

    Returns:
        Area in [0, 1]; None without both good and defective pixels.

    Raises:
        ValueError: As for `pixel_metrics`.
    """
    return pixel_metrics(maps, masks).auroc


def pixel_ap(maps: Array, masks: Array) -> float | None:
    """Return the average precision over the pixels of all images.

    Args:
        maps: (B, H, W) finite anomaly maps; higher is more anomalous.
        masks: (B, H, W) masks: bool, or 0 (good pixel) and 1 (defective pixel).

    Returns:
        Average precision in [0, 1]; None without both good and defective pixels.

    Raises:
        ValueError: As for `pixel_metrics`.
    """
    return pixel_metrics(maps, masks).ap


def pixel_f1_max(maps: Array, masks: Array) -> float | None:
    """Return the largest F1 over all thresholds, over the pixels of all images.

    Args:
        maps: (B, H, W) finite anomaly maps; higher is more anomalous.
        masks: (B, H, W) masks: bool, or 0 (good pixel) and 1 (defective pixel).

    Returns:
        F1 in [0, 1]; None without both good and defective pixels.

    Raises:
        ValueError: As for `pixel_metrics`.
    """
    return pixel_metrics(maps, masks).f1max


def aupro(maps: Array, masks: Array, max_fpr: float = 0.3) -> float | None:
    """Return the area under the per-region-overlap curve, AUPRO (Bergmann et al. 2020, Uninformed Students).

    Regions are the 8-connected components of each mask. The overlap at a threshold is the detected share of a region,
    averaged over all regions. The false-positive rate is the detected share of the good pixels of all images. The curve
    is integrated by the trapezoid rule from 0 to exactly `max_fpr`, where it is interpolated, and the area is divided
    by `max_fpr`. A constant map gets max_fpr / 2.

    Args:
        maps: (B, H, W) finite anomaly maps; higher is more anomalous.
        masks: (B, H, W) masks: bool, or 0 (good pixel) and 1 (defective pixel).
        max_fpr: False-positive rate up to which the curve is integrated, in (0, 1].

    Returns:
        Area in [0, 1]; None without both good and defective pixels.

    Raises:
        ValueError: As for `pixel_metrics`.
    """
    return pixel_metrics(maps, masks, max_fpr).aupro


def _d_prime(good: npt.NDArray[Any], defective: npt.NDArray[Any]) -> float | None:
    """Return d' of the scores of both classes (eq. 12)."""
    if not len(good) or not len(defective):
        return None
    good, defective = good.astype(np.float64), defective.astype(np.float64)
    # d' does not depend on the unit of the scores. With this unit, the squares cannot overflow.
    unit = max(np.abs(good).max(), np.abs(defective).max()) or 1.0
    good, defective = good / unit, defective / unit
    spread = float(np.sqrt((_deviation(good) ** 2 + _deviation(defective) ** 2) / 2.0))
    if spread == 0.0:
        return None
    return float(abs(defective.mean() - good.mean())) / spread


def _deviation(values: npt.NDArray[np.float64]) -> float:
    # The rounded mean of equal numbers can differ from them. Their deviation would then be about 1e-17 instead of 0.
    return 0.0 if values.min() == values.max() else float(values.std())
