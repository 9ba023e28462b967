"""Thresholds with a guaranteed bound on the false-positive rate, by split-conformal prediction.

The images from which the bank, the median and the MAD are computed have lower scores than new images, so their scores
give no guarantee. A share of the good images is therefore held out: the calibration images. If a new good image is
exchangeable with them, its score is above the r-th smallest of their n scores with probability at most 1 - r/(n + 1)
(Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, section 2; Papadopoulos et al. 2002 for the
split).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_CONTENTS = 10  # with fewer distinct images, nothing is held out
ENOUGH_VALIDATION = 19  # distinct validation images that replace the held-out ones; they guarantee a rate of 5 %


@dataclass(frozen=True)
class Threshold:
    """A threshold and its guaranteed bound on the false-positive rate.

    Attributes:
        value: Images scoring above it are flagged.
        false_alarm_bound: Guaranteed bound on the probability that a new good image is flagged, in (0, 1).
        rank: Rank r of the threshold among the calibration scores, counted from 1.
        n: Number of calibration scores.
    """

    value: float
    false_alarm_bound: float
    rank: int
    n: int


def bound_keeps(false_alarm_bound: float, false_alarms: float) -> bool:
    """Return whether a guaranteed bound meets the target rate. This takes `images_needed` calibration images.

    Args:
        false_alarm_bound: Guaranteed bound on the false-positive rate, in (0, 1).
        false_alarms: Target false-positive rate, in (0, 1).

    Returns:
        True if the bound is at most the target rate, up to rounding.
    """
    return false_alarm_bound <= false_alarms * (1.0 + 1e-12)


def images_needed(false_alarms: float) -> int:
    """Return the smallest number of calibration images that can guarantee the target rate a: ⌈1/a - 1⌉.

    Args:
        false_alarms: Target false-positive rate a, in (0, 1).

    Returns:
        Number of images.
    """
    return math.ceil(1.0 / false_alarms - 1.0 - 1e-9)


def held_out(content_sha256: Sequence[str], share: float, part_ids: Sequence[str | None] = ()) -> npt.NDArray[np.bool_]:
    """Return which good images are held out as calibration images, decided by the SHA-256 of each image.

    The first 8 bytes of the digest are read as a fraction in [0, 1), and an image is held out if it is below `share`.
    Copies of an image are therefore treated alike, and additional images do not change the decision for the others.
    The smallest fraction among the images of a workpiece counts for all of them, so that none of its views is fitted
    on if another one calibrates. Two exceptions: with fewer than 10 distinct images nothing is held out, and the
    images with the largest fraction are never held out, so that at least one image remains for training.

    Args:
        content_sha256: SHA-256 of the content of each image (hexadecimal), n in total.
        share: Share of the images to hold out, in [0, 1).
        part_ids: Workpiece that each image shows, n in total, or None for an image of another workpiece than all
            others; empty if no image has one.

    Returns:
        (n,) bool array, True for calibration images.

    Raises:
        ValueError: The share is out of range.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"The share of calibration images must be at least 0 and less than 1; got {share}.")
    fractions = np.array([int(digest[:16], 16) for digest in content_sha256], dtype=np.uint64)
    if len(np.unique(fractions)) < FEWEST_CONTENTS:
        return np.zeros(len(fractions), dtype=np.bool_)
    fractions = _smallest_in_groups(fractions, content_sha256, part_ids)
    # The comparison in integers is exact: share · 2^64 is at most 2^64 - 2^11 for a share below 1.
    aside = fractions < np.uint64(share * 2.0**64)
    return np.asarray(aside & (fractions != fractions.max()), dtype=np.bool_)


def _smallest_in_groups(
    fractions: npt.NDArray[np.uint64], content_sha256: Sequence[str], part_ids: Sequence[str | None]
) -> npt.NDArray[np.uint64]:
    """Return the smallest fraction of the group of each image: images of one workpiece, and copies of any of them."""
    if not any(part is not None for part in part_ids):
        return fractions
    names = [f"image {number}" if part is None else f"part {part}" for number, part in enumerate(part_ids)]
    labels = [np.unique(values, return_inverse=True)[1] for values in (names, list(content_sha256))]
    while True:
        smallest = fractions
        for label in labels:
            of_label = np.full(len(fractions), np.iinfo(np.uint64).max, np.uint64)
            np.minimum.at(of_label, label, smallest)
            smallest = of_label[label]
        if np.array_equal(smallest, fractions):  # a copy that joins two workpieces takes a further round
            return fractions
        fractions = smallest


def conformal_threshold(holdout_scores: npt.ArrayLike, false_alarms: float = 0.01) -> Threshold | None:
    """Return the smallest calibration score that guarantees the target false-positive rate.

    The threshold is the r-th smallest of the n scores with r = min(⌈(n + 1)(1 - a)⌉, n), and the guaranteed bound is
    1 - r/(n + 1). If n < 1/a - 1, no score guarantees the target rate a: the threshold is the largest score, and the
    bound is above a.

    Args:
        holdout_scores: (n,) anomaly scores of the calibration images: good images that were not used for the adapter,
            the bank, the median or the MAD.
        false_alarms: Target false-positive rate a, in (0, 1).

    Returns:
        The threshold, or None if n is 0.

    Raises:
        ValueError: The rate is outside (0, 1), or a score is not finite.

    Examples:
        With 99 calibration images, a rate of 5 % can be guaranteed. With 9, the lowest guaranteed bound is 10 %:

        >>> from reconpatch import conformal_threshold
        >>> threshold = conformal_threshold(range(1, 100), false_alarms=0.05)
        >>> threshold.value, round(threshold.false_alarm_bound, 3)
        (95.0, 0.05)
        >>> threshold = conformal_threshold(range(1, 10), false_alarms=0.05)
        >>> threshold.value, round(threshold.false_alarm_bound, 3)
        (9.0, 0.1)
    """
    if not 0.0 < false_alarms < 1.0:
        raise ValueError(f"The target false-positive rate must be above 0 and below 1; got {false_alarms}.")
    scores = _sorted(holdout_scores)
    n = len(scores)
    if n == 0:
        return None
    # Rounding can make (n + 1) · (1 - a) slightly larger than the integer that it equals.
    rank = min(max(math.ceil((n + 1) * (1.0 - false_alarms) - 1e-9), 1), n)
    return Threshold(float(scores[rank - 1]), 1.0 - rank / (n + 1), rank, n)


def p_values(scores: npt.ArrayLike, holdout_scores: npt.ArrayLike) -> npt.NDArray[np.float64] | None:
    """Return the conformal p-values (1 + #{calibration scores ≥ score}) / (n + 1) of anomaly scores.

    Args:
        scores: (m,) anomaly scores of new images.
        holdout_scores: (n,) anomaly scores of the calibration images, see `conformal_threshold`.

    Returns:
        (m,) float64 p-values in (0, 1], or None if n is 0.

    Raises:
        ValueError: A score is not finite.

    Examples:
        Of three calibration scores, none is as high as 5.0 and all are at least 0.5:

        >>> from reconpatch import p_values
        >>> p_values([5.0, 0.5], holdout_scores=[1.0, 2.0, 3.0])
        array([0.25, 1.  ])
    """
    held = _sorted(holdout_scores)
    new = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(new).all():
        raise ValueError("p-values need finite scores; at least one score is NaN or infinite.")
    if len(held) == 0:
        return None
    at_least = len(held) - np.searchsorted(held, new, side="left")
    return np.asarray((1.0 + at_least) / (len(held) + 1.0), dtype=np.float64)


def _sorted(holdout_scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the calibration scores as an ascending float64 array."""
    scores = np.sort(np.asarray(holdout_scores, dtype=np.float64))
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError("The scores of the calibration images must be a one-dimensional list of finite numbers.")
    return scores
