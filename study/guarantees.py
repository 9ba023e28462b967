"""Observed false-positive rates and their guaranteed bounds, with held-out images and with cross-fitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from reconpatch.detector.thresholds import conformal_threshold
from study.results import TrialResult

RATES = (0.01, 0.05, 0.10)


@dataclass(frozen=True, kw_only=True)
class ObservedRate:
    """Rates of flagged test images for one threshold.

    Attributes:
        category: Name of the category.
        rate: Target false-positive rate, 0 to 1.
        held_out: Number of calibration images.
        bound: Guaranteed bound on the false-positive rate, 0 to 1. With few calibration images it exceeds the target.
        alarms: Number of good test images that are flagged.
        images: Number of good test images.
        detected: Share of defective test images that are flagged, 0 to 1.
    """

    category: str
    rate: float
    held_out: int
    bound: float
    alarms: int
    images: int
    detected: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the false-positive rate, as (low, high) between 0 and 1."""
        ends = binomtest(self.alarms, self.images).proportion_ci(0.95)
        return float(ends.low), float(ends.high)


def with_holdout(results: Sequence[TrialResult]) -> list[ObservedRate]:
    """Return the rates for thresholds from the held-out images of each trial.

    Args:
        results: Results of trials with held-out images.
    """
    return [rate for result in results for rate in _observed(result, np.array(result.holdout_scores))]


def cross_fitted(results: Sequence[TrialResult], folds: Sequence[TrialResult]) -> list[ObservedRate]:
    """Return the rates for thresholds from all good images, each scored by a model that was fitted without it.

    Args:
        results: Results of models fitted on all good images; their test images are compared with the thresholds.
        folds: Results of models fitted on all good images except those of one fold, which are the held-out images.
    """
    rates = []
    for result in results:
        scores = [fold.holdout_scores for fold in folds if fold.category == result.category]
        rates += _observed(result, np.concatenate(scores))
    return rates


def _observed(result: TrialResult, calibration: npt.NDArray[np.float64]) -> list[ObservedRate]:
    scores, labels = np.array(result.scores), np.array(result.labels)
    rates = []
    for rate in RATES:
        threshold = conformal_threshold(np.sort(calibration), rate)
        if threshold is None:
            continue
        flagged = scores > threshold.value
        rates.append(
            ObservedRate(
                category=result.category,
                rate=rate,
                held_out=len(calibration),
                bound=threshold.false_alarm_bound,
                alarms=int(flagged[labels == 0].sum()),
                images=int((labels == 0).sum()),
                detected=float(flagged[labels == 1].mean()),
            )
        )
    return rates
