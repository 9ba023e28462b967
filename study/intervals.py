"""Gains between recipes with paired bootstrap intervals (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_RESAMPLES = 4000
_SHARE = 0.95


@dataclass(frozen=True)
class Gain:
    """A mean difference of image AUROC in points (hundredths), and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gain(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], seed: int = 0) -> Gain:
    """Mean over categories of the difference of image AUROC, over the same images.

    Seeds are averaged; images are drawn anew, good and defective apart, the same ones for both recipes. The interval
    speaks of other test images, therefore; the spread over seeds is printed beside it.

    Args:
        ours, others: trials' rows, for the same categories, seeds and images.

    Raises:
        ValueError: the rows are of other categories, seeds or images.
    """
    categories = sorted({row["category"] for row in ours})
    random = np.random.default_rng(seed)
    point, spread = 0.0, np.zeros(_RESAMPLES)
    for category in categories:
        mine, theirs = (
            sorted((row for row in rows if row["category"] == category), key=lambda row: row["seed"])
            for rows in (ours, others)
        )
        if [(row["seed"], row["paths"]) for row in mine] != [(row["seed"], row["paths"]) for row in theirs]:
            raise ValueError(f"{category}: the two recipes were not tried on the same images with the same seeds.")
        wins = np.mean([_wins(row) for row in mine], axis=0) - np.mean([_wins(row) for row in theirs], axis=0)
        point += 100.0 * float(wins.mean()) / len(categories)
        drawn = [random.multinomial(side, np.full(side, 1.0 / side), _RESAMPLES) / side for side in wins.shape]
        spread += 100.0 * ((drawn[0] @ wins) * drawn[1]).sum(axis=1) / len(categories)
    low, high = np.quantile(spread, [(1.0 - _SHARE) / 2.0, (1.0 + _SHARE) / 2.0])
    return Gain(point, float(low), float(high))


def _wins(row: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """(defective, good) 1 where the defective image scores higher, 1/2 where equal; AUROC is its mean."""
    scores, labels = np.array(row["scores"]), np.array(row["labels"])
    defective, good = scores[labels == 1][:, None], scores[labels == 0]
    return np.asarray((defective > good) + 0.5 * (defective == good))
