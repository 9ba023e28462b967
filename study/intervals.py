"""Gains between recipes with paired bootstrap intervals (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconpatch.evaluation.comparison import RESAMPLES, interval, resampled_means, wins
from study.results import TrialResult


@dataclass(frozen=True)
class Gain:
    """A mean difference of image AUROC in points (hundredths).

    Attributes:
        mean: over categories.
        low, high: ends of its 95 % interval.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gain(ours: Sequence[TrialResult], reference: Sequence[TrialResult]) -> Gain:
    """Return the mean over categories of the difference of image AUROC, over the same images.

    Seeds are averaged. Good and defective images are resampled separately, the same ones for both recipes, so that the
    interval is about other test images; the spread over seeds is printed beside it.

    Args:
        ours: results of a recipe.
        reference: results of the recipe it is compared with, for the same categories, seeds and images.

    Raises:
        ValueError: the results are of different categories, seeds or images.
    """
    categories = sorted({result.category for result in ours})
    random = np.random.default_rng(0)
    point, spread = 0.0, np.zeros(RESAMPLES)
    for category in categories:
        ours_here, reference_here = (_by_seed(results, category) for results in (ours, reference))
        if [(result.seed, result.paths) for result in ours_here] != [
            (result.seed, result.paths) for result in reference_here
        ]:
            raise ValueError(f"{category}: the two recipes were not tried on the same images with the same seeds.")
        pairs = _mean_wins(ours_here) - _mean_wins(reference_here)
        point += 100.0 * float(pairs.mean()) / len(categories)
        spread += 100.0 * resampled_means(pairs, random) / len(categories)
    return Gain(point, *interval(spread))


def _by_seed(results: Sequence[TrialResult], category: str) -> list[TrialResult]:
    return sorted((result for result in results if result.category == category), key=lambda result: result.seed)


def _mean_wins(results: Sequence[TrialResult]) -> npt.NDArray[np.float64]:
    """Return the mean over seeds of which defective image scores higher than which good one."""
    return np.asarray(np.mean([wins(result.scores, result.labels) for result in results], axis=0))
