"""Gains between recipes with paired bootstrap intervals (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconpatch.comparison import RESAMPLES, interval, resampled_means, wins


@dataclass(frozen=True)
class Gain:
    """A mean difference of image AUROC in points (hundredths), and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def gain(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> Gain:
    """Mean over categories of the difference of image AUROC, over the same images.

    Seeds are averaged; images are drawn anew, good and defective apart, the same ones for both recipes. The interval
    speaks of other test images, therefore; the spread over seeds is printed beside it.

    Args:
        ours, others: trials' rows, for the same categories, seeds and images.

    Raises:
        ValueError: the rows are of other categories, seeds or images.
    """
    categories = sorted({row["category"] for row in ours})
    random = np.random.default_rng(0)
    point, spread = 0.0, np.zeros(RESAMPLES)
    for category in categories:
        mine, theirs = (
            sorted((row for row in rows if row["category"] == category), key=lambda row: row["seed"])
            for rows in (ours, others)
        )
        if [(row["seed"], row["paths"]) for row in mine] != [(row["seed"], row["paths"]) for row in theirs]:
            raise ValueError(f"{category}: the two recipes were not tried on the same images with the same seeds.")
        pairs = _mean_wins(mine) - _mean_wins(theirs)
        point += 100.0 * float(pairs.mean()) / len(categories)
        spread += 100.0 * resampled_means(pairs, random) / len(categories)
    return Gain(point, *interval(spread))


def _mean_wins(rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """Over seeds."""
    return np.asarray(np.mean([wins(row["scores"], row["labels"]) for row in rows], axis=0))
