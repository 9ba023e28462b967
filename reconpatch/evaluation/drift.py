"""Drift: whether the scores of new images are distributed like those of the calibration images.

An aging lamp or a changed product shows first as drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

QUANTILES = (0.1, 0.5, 0.9)
# Scores have drifted if the Kolmogorov-Smirnov p-value is below this value. Without any change, this happens once in a
# thousand comparisons.
DRIFTED = 1e-3
_RARE = 0.05  # without any change, one in twenty conformal p-values is below this value


@dataclass(frozen=True)
class Drift:
    """Comparison of the scores of new images with the scores of the calibration images of the same category.

    Attributes:
        images: Number of new images.
        holdout: Number of calibration images.
        quantiles: 10 %, 50 % and 90 % quantiles of the new scores.
        holdout_quantiles: 10 %, 50 % and 90 % quantiles of the calibration scores.
        ks: Kolmogorov-Smirnov distance between the two distributions, in [0, 1].
        ks_p_value: Probability of at least this distance between two samples of the same distribution, in [0, 1].
        above_threshold: Share of the new images that are flagged, in [0, 1]; None without a threshold.
        rare: Share of the new conformal p-values below 0.05, in [0, 1]. About 0.05 is expected if nothing has changed
            and no image is defective.
    """

    images: int
    holdout: int
    quantiles: tuple[float, ...]
    holdout_quantiles: tuple[float, ...]
    ks: float
    ks_p_value: float
    above_threshold: float | None
    rare: float


def drift_of(
    scores: npt.ArrayLike, holdout_scores: npt.ArrayLike, threshold: float | None, p_values: npt.ArrayLike
) -> Drift | None:
    """Compare the anomaly scores of new images with those of the calibration images.

    Args:
        scores: (m,) finite scores of the new images.
        holdout_scores: (n,) finite scores of the model's calibration images.
        threshold: Threshold of the model; None if it has none.
        p_values: (m,) conformal p-values of the new images, in (0, 1].

    Returns:
        The comparison, or None if m or n is 0.

    Raises:
        ValueError: A score is not finite, or the numbers of p-values and scores differ.
    """
    new, reference, rarity = (np.asarray(values, np.float64) for values in (scores, holdout_scores, p_values))
    if len(new) == 0 or len(reference) == 0:
        return None
    if not (np.isfinite(new).all() and np.isfinite(reference).all()):
        raise ValueError("Drift needs finite scores; at least one score is NaN or infinite.")
    if rarity.shape != new.shape:
        raise ValueError(f"Expected one p-value per score; got {len(rarity)} p-values and {len(new)} scores.")
    test = ks_2samp(new, reference)
    return Drift(
        images=len(new),
        holdout=len(reference),
        quantiles=tuple(np.quantile(new, QUANTILES).tolist()),
        holdout_quantiles=tuple(np.quantile(reference, QUANTILES).tolist()),
        ks=float(test.statistic),
        ks_p_value=float(test.pvalue),
        above_threshold=None if threshold is None else float((new > threshold).mean()),
        rare=float((rarity < _RARE).mean()),
    )
