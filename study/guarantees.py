"""The observed false-positive rate beside its guaranteed bound, with hold-out and with cross-fitting."""

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
    """What a threshold does on the test images.

    Attributes:
        category: its name.
        rate: target false-positive rate.
        held_out: number of calibration images.
        bound: guaranteed bound of the threshold: the target rate, or what this number of calibration images allows.
        alarms: good test images that are flagged.
        images: good test images.
        detected: share of defective test images that are flagged.
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
        """95 % Clopper-Pearson interval of the false-positive rate."""
        ends = binomtest(self.alarms, self.images).proportion_ci(0.95)
        return float(ends.low), float(ends.high)


def with_holdout(results: Sequence[TrialResult]) -> list[ObservedRate]:
    """Return the rates of thresholds from each trial's own held-out images."""
    return [rate for result in results for rate in _observed(result, np.array(result.holdout_scores))]


def cross_fitted(results: Sequence[TrialResult], folds: Sequence[TrialResult]) -> list[ObservedRate]:
    """Return the rates of thresholds from all good images, each scored by a model that it was held out of.

    Args:
        results: of models fitted on all good images, whose test images are flagged.
        folds: of models fitted on all good images but those of one fold.
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
