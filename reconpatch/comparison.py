"""Two models on the same images: gains of AUROC, by a paired bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 4000


def wins(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Which defective image scores higher than which good one; the mean is AUROC (Mann and Whitney 1947).

    Args:
        scores: (n,) finite.
        labels: (n,) 0 good, 1 defective.

    Returns:
        (defective, good) float64: 1 where the defective image scores higher, 1/2 where they score alike, else 0.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    defective, good = values[truth == 1][:, None], values[truth == 0]
    return np.asarray((defective > good) + 0.5 * (defective == good))


def resampled_means(
    pairs: npt.NDArray[np.float64], random: np.random.Generator, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """Means of a (defective, good) table over images drawn anew, good and defective ones apart.

    Args:
        pairs: (d, g), neither 0; for a paired bootstrap the difference of two models' `wins`.
        random: draws the images.

    Returns:
        (resamples,) float64.
    """
    rows, columns = (random.multinomial(side, np.full(side, 1.0 / side), resamples) / side for side in pairs.shape)
    return np.asarray(((rows @ pairs) * columns).sum(axis=1))
