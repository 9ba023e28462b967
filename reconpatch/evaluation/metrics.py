"""Metrics of how well scores separate defective from good images and pixels.

Everything is computed from the distinct scores of the *defective* samples. Between two of them only good samples pass
the threshold: recall and overlap are constant and precision falls, so no curve has a relevant corner there. The good
samples are only sorted and counted, which is exact and far cheaper than ranking all pixels together.

A sample counts as detected where its score is at or above the threshold; equal scores pass together.
A metric that is not defined for the data is None, never 0, 1 or NaN.

To add one: a field of `ImageMetrics` or `PixelMetrics`, its value in `image_metrics` or `pixel_metrics`, a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from reconpatch.arrays import Array

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class ImageMetrics:
    """Metrics over images; None where not defined.

    Attributes:
        auroc: area under the ROC curve, in [0, 1].
        ap: average precision, in [0, 1].
        f1max: the largest F1 over all thresholds, in [0, 1].
        d_prime: eq. 12, 0 or more.
    """

    auroc: float | None
    ap: float | None
    f1max: float | None
    d_prime: float | None


@dataclass(frozen=True)
class PixelMetrics:
    """Metrics over the pixels of all images; None where not defined.

    Attributes:
        auroc, ap, f1max: as of `ImageMetrics`.
        aupro: area under the per-region-overlap curve, in [0, 1]; see `aupro`.
    """

    auroc: float | None
    ap: float | None
    f1max: float | None
    aupro: float | None


def image_metrics(scores: Array, labels: Array) -> ImageMetrics:
    """Return area under the ROC curve, average precision, largest F1, and d' (eq. 12) of image scores.

    Args:
        scores: (n,) finite; higher is more anomalous. Compared in their own dtype.
        labels: (n,) bool, or numbers 0 (good) and 1 (defective).

    Returns:
        All four; each is None unless there are images of both classes.

    Raises:
        ValueError: the shapes do not fit, scores are not finite, or labels are neither 0 nor 1.
    """
    good, defective = _by_class(scores, labels)
    separation = _d_prime(good, defective)  # before the sort: sums must not depend on who asked
    curve = _curve(good, defective)
    return ImageMetrics(_auroc(curve), _average_precision(curve), _f1_max(curve), separation)


def image_auroc(scores: Array, labels: Array) -> float | None:
    """Return the area under the ROC curve; takes and raises what `image_metrics` does."""
    return _auroc(_curve(*_by_class(scores, labels)))


def image_ap(scores: Array, labels: Array) -> float | None:
    """Return average precision, Σ (R_i - R_{i-1}) P_i; takes and raises what `image_metrics` does."""
    return _average_precision(_curve(*_by_class(scores, labels)))


def roc(scores: Array, labels: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the corners of the ROC curve.

    Args:
        scores: (n,) finite; higher is more anomalous.
        labels: (n,) bool, or numbers 0 (good) and 1 (defective); of both classes.

    Returns:
        False and true positive rates, (m,) each, from (0, 0) to (1, 1).
    """
    curve = _curve(*_by_class(scores, labels))
    # A level score is a slope from where only the defective ones above pass to where all of the level do.
    false = np.stack([curve.false, curve.false_above], axis=1)[::-1, ::-1].ravel() / curve.n_good
    found = np.stack([curve.found, curve.found - curve.gained], axis=1)[::-1, ::-1].ravel() / curve.n_defective
    return np.concatenate([[0.0], false, [1.0]]), np.concatenate([[0.0], found, [1.0]])


def precision_and_recall(scores: Array, labels: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision and recall at each defective image's score, the highest score first.

    Args:
        scores: (n,) finite; higher is more anomalous.
        labels: (n,) bool, or numbers 0 (good) and 1 (defective); of both classes.

    Returns:
        (m,) float64 each, m the distinct scores of defective images.
    """
    curve = _curve(*_by_class(scores, labels))
    return (curve.found / (curve.found + curve.false))[::-1], (curve.found / curve.n_defective)[::-1]


def f1_max(scores: Array, labels: Array) -> float | None:
    """Return the largest F1 over all thresholds; takes and raises what `image_metrics` does."""
    return _f1_max(_curve(*_by_class(scores, labels)))


def d_prime(scores: Array, labels: Array) -> float | None:
    """Return d' = |μ_abnormal - μ_normal| / sqrt((σ²_abnormal + σ²_normal) / 2), eq. 12, deviations with ddof 0.

    Takes and raises what `image_metrics` does. None where a class is missing or both deviations are 0.
    """
    return _d_prime(*_by_class(scores, labels))


def pixel_metrics(maps: Array, masks: Array, max_fpr: float = 0.3) -> PixelMetrics:
    """Return ROC area, average precision, largest F1 and AUPRO over the pixels of all images, from one sort.

    Memory beside the input: a copy of the scores and about 60 bytes per defective pixel.

    Args:
        maps: (B, H, W) anomaly maps, finite; higher is more anomalous. float32 or any real dtype.
        masks: (B, H, W) bool, True where defective; images without a defect are all False.
        max_fpr: the false-positive rate AUPRO is integrated to; see `aupro`.

    Returns:
        All four; each is None unless there are defective pixels and good ones.

    Raises:
        ValueError: shapes that do not fit, scores that are not finite, masks with other values than 0 and 1, max_fpr
            outside (0, 1].
    """
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(f"max_fpr is {max_fpr}; it must be above 0 and at most 1.")
    scores, defects = _checked(maps, masks, names=("maps", "masks"), ndim=3)
    if defects.all() or not defects.any():
        return PixelMetrics(None, None, None, None)
    curve = _curve(scores[~defects], scores[defects], _region_weights(defects))
    return PixelMetrics(_auroc(curve), _average_precision(curve), _f1_max(curve), _aupro(curve, max_fpr))


def pixel_auroc(maps: Array, masks: Array) -> float | None:
    """Return the area under the ROC curve over all pixels; takes and raises what `pixel_metrics` does."""
    return pixel_metrics(maps, masks).auroc


def pixel_ap(maps: Array, masks: Array) -> float | None:
    """Return average precision over all pixels; takes and raises what `pixel_metrics` does."""
    return pixel_metrics(maps, masks).ap


def pixel_f1_max(maps: Array, masks: Array) -> float | None:
    """Return the largest F1 over all pixels and thresholds; takes and raises what `pixel_metrics` does."""
    return pixel_metrics(maps, masks).f1max


def aupro(maps: Array, masks: Array, max_fpr: float = 0.3) -> float | None:
    """Return the area under the per-region-overlap curve (Bergmann et al., Uninformed Students, 2020), in [0, 1].

    Regions are the 8-connected components of each mask. At a threshold, the overlap is the mean over all regions of
    the share of the region that is detected; the false-positive rate is over the good pixels of all images. The curve
    is integrated by the trapezoid rule from 0 to exactly `max_fpr`, interpolated there, and divided by `max_fpr`: a
    constant map gets max_fpr / 2. Takes and raises what `pixel_metrics` does.
    """
    return pixel_metrics(maps, masks, max_fpr).aupro


@dataclass(frozen=True)
class _Curve:
    """What passes each of the T distinct scores of defective samples, lowest first; counts are int64."""

    n_good: int
    n_defective: int
    gained: npt.NDArray[np.int64]  # (T,) defective samples at this very score
    found: npt.NDArray[np.int64]  # (T,) defective samples at or above it
    false: npt.NDArray[np.int64]  # (T,) good samples at or above it
    false_above: npt.NDArray[np.int64]  # (T,) good samples strictly above it
    overlap: npt.NDArray[np.float64] | None  # (T,) what this score adds to the mean overlap; sums to 1

    @property
    def defined(self) -> bool:
        return self.n_good > 0 and self.n_defective > 0


def _curve(
    good: npt.NDArray[Any], defective: npt.NDArray[Any], weights: npt.NDArray[np.float64] | None = None
) -> _Curve:
    """Return the curve of two arrays of scores; `good` is sorted in place."""
    good.sort()
    if weights is None:
        defective = np.sort(defective)
    else:
        order = np.argsort(defective)
        defective, weights = defective[order], weights[order]
        del order  # 8 bytes a pixel
    starts_here = np.ones(len(defective), dtype=bool)
    np.not_equal(defective[1:], defective[:-1], out=starts_here[1:])
    starts = np.flatnonzero(starts_here)
    thresholds = defective[starts]
    overlap = None
    if weights is not None:
        overlap = np.add.reduceat(weights, starts)
        overlap /= overlap.sum()
    return _Curve(
        n_good=len(good),
        n_defective=len(defective),
        gained=np.diff(starts, append=len(defective)),
        found=len(defective) - starts,
        false=len(good) - np.searchsorted(good, thresholds, side="left"),
        false_above=len(good) - np.searchsorted(good, thresholds, side="right"),
        overlap=overlap,
    )


def _auroc(curve: _Curve) -> float | None:
    if not curve.defined:
        return None
    # Twice the good samples below plus once those level with it: Mann and Whitney's count, the trapezoid's area, and
    # whole numbers to the end (2 · good · defective fits int64 up to four thousand million pixels).
    twice_won = int((curve.gained * (2 * curve.n_good - curve.false - curve.false_above)).sum())
    return twice_won / (2 * curve.n_good * curve.n_defective)


def _average_precision(curve: _Curve) -> float | None:
    if not curve.defined:
        return None
    precision = curve.found / (curve.found + curve.false)
    return min(float((curve.gained * precision).sum()) / curve.n_defective, 1.0)


def _f1_max(curve: _Curve) -> float | None:
    if not curve.defined:
        return None
    return float((2 * curve.found / (curve.found + curve.false + curve.n_defective)).max())


def _aupro(curve: _Curve, max_fpr: float) -> float | None:
    if not curve.defined or curve.overlap is None:
        return None
    # A score's overlap, once gained, counts for all false positives between there and the limit. Where good pixels
    # share the score, it is gained along a ramp from `false_above` to `false`, which the limit may cut.
    limit = max_fpr * curve.n_good
    before = curve.false_above < limit
    left = limit - curve.false_above[before]
    ramp = (curve.false - curve.false_above)[before]
    on_ramp = np.minimum(left, ramp)
    lasting = left - on_ramp + on_ramp * on_ramp / (2.0 * np.maximum(ramp, 1))
    return min(float((curve.overlap[before] * lasting).sum()) / limit, 1.0)  # rounding alone could pass 1


def _d_prime(good: npt.NDArray[Any], defective: npt.NDArray[Any]) -> float | None:
    if not len(good) or not len(defective):
        return None
    good, defective = good.astype(np.float64), defective.astype(np.float64)
    # d' does not depend on the unit of the scores; this one keeps squares from overflowing.
    unit = max(np.abs(good).max(), np.abs(defective).max()) or 1.0
    good, defective = good / unit, defective / unit
    spread = float(np.sqrt((_deviation(good) ** 2 + _deviation(defective) ** 2) / 2.0))
    if spread == 0.0:
        return None
    return float(abs(defective.mean() - good.mean())) / spread


def _deviation(values: npt.NDArray[np.float64]) -> float:
    # The mean of equal numbers may round away from them: their deviation would be 1e-17, and d' as large as you like.
    return 0.0 if values.min() == values.max() else float(values.std())


def _region_weights(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return 1 / (size of its region) for every defective pixel, in the order of `maps[masks]`."""
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


def _by_class(scores: Array, labels: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return copies of the scores of good and of defective images."""
    values, defective = _checked(scores, labels, names=("scores", "labels"), ndim=1)
    return values[~defective], values[defective]


def _checked(
    scores: Array, truth: Array, *, names: tuple[str, str], ndim: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    scores_name, truth_name = names
    values, defective = _as_numpy(scores), _as_numpy(truth)
    if values.ndim != ndim or values.shape != defective.shape:
        raise ValueError(
            f"{scores_name} are {values.shape} and {truth_name} {defective.shape}; "
            f"both must have the same {ndim} dimension{'s' if ndim > 1 else ''}."
        )
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError(f"{scores_name} must be finite numbers; leave out what has no score.")
    if defective.dtype != np.bool_:
        if not ((defective == 0) | (defective == 1)).all():
            raise ValueError(f"{truth_name} must be bool, or 0 (good) and 1 (defective) only.")
        defective = defective == 1
    return values, defective


def _as_numpy(array: Array) -> npt.NDArray[Any]:
    if not isinstance(array, torch.Tensor):
        return np.asarray(array)
    if array.dtype == torch.bfloat16:  # NumPy has none; float32 holds all its values
        array = array.float()
    return np.asarray(array.detach().cpu().numpy())
