"""Drift: whether the scores of new images are distributed like those of held-out good images.

Drift is the first sign of an aging lamp or a changed part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

QUANTILES = (0.1, 0.5, 0.9)
DRIFTED = 1e-3  # Kolmogorov-Smirnov p-value below which scores have drifted: one in a thousand without any change
_RARE = 0.05  # p-values below it are one in twenty among images like the held-out ones


@dataclass(frozen=True)
class Drift:
    """New scores of a category compared with those of its held-out good images.

    Attributes:
        images: number of new scores.
        holdout: number of held-out scores.
        quantiles: 10, 50 and 90 % quantiles of the new scores.
        holdout_quantiles: the same quantiles of the held-out scores.
        ks: Kolmogorov-Smirnov distance of the two distributions, in [0, 1].
        ks_p_value: probability of at least this distance between samples of one distribution.
        above_threshold: share of the new images that are flagged; None without a threshold.
        rare: share of the new p-values below 0.05; 0.05 where nothing has changed and no part is defective.
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
    """Compare fused image scores of new images with the held-out ones.

    Args:
        scores: (m,) scores of the new images.
        holdout_scores: (n,) held-out scores of the model.
        threshold: threshold of the model; None for none.
        p_values: (m,) p-values of the new images.

    Returns:
        The comparison, or None where there are no new or no held-out scores.

    Raises:
        ValueError: a score is not finite, or there is another number of p-values than of scores.
    """
    today, before, rarity = (np.asarray(values, np.float64) for values in (scores, holdout_scores, p_values))
    if len(today) == 0 or len(before) == 0:
        return None
    if not (np.isfinite(today).all() and np.isfinite(before).all()):
        raise ValueError("A score is not finite; drift compares finite ones.")
    if rarity.shape != today.shape:
        raise ValueError(f"There are {len(rarity)} p-values of {len(today)} scores; give one a score.")
    test = ks_2samp(today, before)
    return Drift(
        images=len(today),
        holdout=len(before),
        quantiles=tuple(np.quantile(today, QUANTILES).tolist()),
        holdout_quantiles=tuple(np.quantile(before, QUANTILES).tolist()),
        ks=float(test.statistic),
        ks_p_value=float(test.pvalue),
        above_threshold=None if threshold is None else float((today > threshold).mean()),
        rare=float((rarity < _RARE).mean()),
    )
