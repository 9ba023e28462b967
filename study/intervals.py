"""Gains of one recipe over another, with paired bootstrap intervals (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconpatch.evaluation.comparison import RESAMPLES, interval, resampled_means, wins
from study.results import TrialResult


@dataclass(frozen=True)
class Gain:
    """A difference of image AUROC in percentage points.

    Attributes:
        mean: Mean over categories.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gain(ours: Sequence[TrialResult], reference: Sequence[TrialResult]) -> Gain:
    """Return the difference of image AUROC of two recipes on the same images, as the mean over categories.

    Seeds are averaged. The bootstrap resamples good and defective images separately, and the same ones for both
    recipes. So the interval covers the choice of test images; the page lists the results of each seed separately.

    Args:
        ours: Results of a recipe.
        reference: Results of the recipe with which it is compared, for the same categories, seeds and images.

    Raises:
        ValueError: The results are of different seeds or images.
    """
    categories = sorted({result.category for result in ours})
    random = np.random.default_rng(0)
    point, spread = 0.0, np.zeros(RESAMPLES)
    for category in categories:
        ours_here, reference_here = (_by_seed(results, category) for results in (ours, reference))
        if [(result.seed, result.paths) for result in ours_here] != [
            (result.seed, result.paths) for result in reference_here
        ]:
            raise ValueError(
                f"{category}: the two recipes have results of different images or seeds. Run the missing trials."
            )
        pairs = _mean_wins(ours_here) - _mean_wins(reference_here)
        point += 100.0 * float(pairs.mean()) / len(categories)
        spread += 100.0 * resampled_means(pairs, random) / len(categories)
    return Gain(point, *interval(spread))


def _by_seed(results: Sequence[TrialResult], category: str) -> list[TrialResult]:
    return sorted((result for result in results if result.category == category), key=lambda result: result.seed)


def _mean_wins(results: Sequence[TrialResult]) -> npt.NDArray[np.float64]:
    """Return for each pair of a defective and a good image whether the former scores higher, as the mean over seeds."""
    return np.asarray(np.mean([wins(result.scores, result.labels) for result in results], axis=0))
