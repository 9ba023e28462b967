"""Whether today's images look as the held-out good ones did: the first sign of an ageing lamp or a changed part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

QUANTILES = (0.1, 0.5, 0.9)
DRIFTED = 1e-3  # a Kolmogorov-Smirnov p-value below it: one in a thousand mornings on which nothing has changed
_RARE = 0.05  # p-values below it are one in twenty among images like the held-out ones


@dataclass(frozen=True)
class Drift:
    """Today's scores of a category beside those of its held-out good images.

    Attributes:
        images, holdout: how many scores there are of each.
        quantiles, holdout_quantiles: at 10, 50 and 90 %.
        ks: Kolmogorov-Smirnov's distance of the two distributions, in [0, 1].
        ks_p_value: how often samples of one distribution are at least as far apart.
        above_threshold: share of today's images that are called anomalies; None without a threshold.
        rare: share of today's p-values below 0.05; 0.05 where nothing has changed and no part is defective.
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
    """Compare today's fused image scores with the held-out ones.

    Args:
        scores: (m,) of today's images.
        holdout_scores: (n,) of the model.
        threshold: of the model.
        p_values: (m,) of today's images.

    Returns:
        The comparison, or None where either has no score.

    Raises:
        ValueError: a score that is not finite, or p-values of another number.
    """
    today, before, rarity = (np.asarray(each, np.float64) for each in (scores, holdout_scores, p_values))
    if len(today) == 0 or len(before) == 0:
        return None
    if not (np.isfinite(today).all() and np.isfinite(before).all()):
        raise ValueError("A score is not finite; drift compares finite ones.")
    if rarity.shape != today.shape:
        raise ValueError(f"There are {len(rarity)} p-values of {len(today)} scores; give one a score.")
    found = ks_2samp(today, before)
    return Drift(
        images=len(today),
        holdout=len(before),
        quantiles=tuple(np.quantile(today, QUANTILES).tolist()),
        holdout_quantiles=tuple(np.quantile(before, QUANTILES).tolist()),
        ks=float(found.statistic),
        ks_p_value=float(found.pvalue),
        above_threshold=None if threshold is None else float((today > threshold).mean()),
        rare=float((rarity < _RARE).mean()),
    )
