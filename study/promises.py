"""False alarms really met beside the rate that was promised, with hold-out and with cross-fitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from reconpatch.thresholds import conformal_threshold

RATES = (0.01, 0.05, 0.10)


@dataclass(frozen=True)
class Met:
    """What a threshold did on good test images.

    Attributes:
        promised: the bound that goes with the threshold: the wished rate, or what n held-out images can promise.
        alarms, images: good test images above the threshold, of how many.
        found: defective test images above it, as a share.
    """

    category: str
    rate: float
    held_out: int
    promised: float
    alarms: int
    images: int
    found: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval of the rate that was met."""
        found = binomtest(self.alarms, self.images).proportion_ci(0.95)
        return float(found.low), float(found.high)


def with_holdout(rows: Sequence[Mapping[str, Any]]) -> list[Met]:
    """Thresholds from each trial's own held-out images."""
    return [met for row in rows for met in _met(row, np.array(row["holdout_scores"]))]


def cross_fitted(rows: Sequence[Mapping[str, Any]], folds: Sequence[Mapping[str, Any]]) -> list[Met]:
    """Thresholds from all good images, each scored by the model of a fold that it was held out of; the verdicts are
    those of a model that has learned from all of them."""
    found = []
    for row in rows:
        mine = [each["holdout_scores"] for each in folds if each["category"] == row["category"]]
        found += _met(row, np.concatenate(mine))
    return found


def _met(row: Mapping[str, Any], calibration: npt.NDArray[np.float64]) -> list[Met]:
    scores, labels = np.array(row["scores"]), np.array(row["labels"])
    found = []
    for rate in RATES:
        threshold = conformal_threshold(np.sort(calibration), rate)
        if threshold is None:
            continue
        above = scores > threshold.value
        found.append(
            Met(
                category=row["category"],
                rate=rate,
                held_out=len(calibration),
                promised=threshold.false_alarm_bound,
                alarms=int(above[labels == 0].sum()),
                images=int((labels == 0).sum()),
                found=float(above[labels == 1].mean()),
            )
        )
    return found
