"""Thresholds with a guaranteed bound on the false-positive rate, by split-conformal prediction on held-out images.

The scores of the images that bank, median and MAD are made from are optimistic and guarantee nothing. A share of the
good images is therefore held out; if a new good image is exchangeable with them, its score is above the
r-th smallest of n held-out scores with probability at most 1 - r/(n + 1) (Vovk, Gammerman and Shafer 2005, Algorithmic
Learning in a Random World, section 2; Papadopoulos et al. 2002 for the split).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_CONTENTS = 10  # distinct contents below which nothing is held out


@dataclass(frozen=True)
class Threshold:
    """A threshold and its guaranteed bound.

    Attributes:
        value: images scoring above it are flagged.
        false_alarm_bound: guaranteed bound on the probability that a new good image is flagged.
        rank: r, the rank of the threshold among the held-out scores, from 1.
        n: number of held-out scores.
    """

    value: float
    false_alarm_bound: float
    rank: int
    n: int


def bound_keeps(false_alarm_bound: float, false_alarms: float) -> bool:
    """Return whether a bound is at most the target rate, up to rounding; it needs `images_needed` images.

    Args:
        false_alarm_bound: guaranteed bound on the false-positive rate.
        false_alarms: target false-positive rate.
    """
    return false_alarm_bound <= false_alarms * (1.0 + 1e-12)


def images_needed(false_alarms: float) -> int:
    """Return the smallest number of held-out images that can guarantee the target rate a: ⌈1/a - 1⌉.

    Args:
        false_alarms: a, above 0.
    """
    return math.ceil(1.0 / false_alarms - 1.0 - 1e-9)


def held_out(content_sha256: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """Return which good images are held out: those whose SHA-256 starts with a fraction below `share`.

    The first 8 bytes are read as a fraction. Copies of an image stay together, and a new image does not move any other.
    With fewer than 10 distinct contents nothing is held out; the content with the largest fraction is always fitted.

    Args:
        content_sha256: one hex digest per image.
        share: share of the contents to hold out, in [0, 1).

    Returns:
        (n,) bool.

    Raises:
        ValueError: the share is out of range.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"The share to hold out is {share}; give at least 0 and less than 1.")
    fractions = np.array([int(digest[:16], 16) for digest in content_sha256], dtype=np.uint64)
    if len(np.unique(fractions)) < FEWEST_CONTENTS:
        return np.zeros(len(fractions), dtype=np.bool_)
    # Compared as integers: a share below one is at most 2^64 - 2^11 there, and nothing is rounded.
    aside = fractions < np.uint64(share * 2.0**64)
    return np.asarray(aside & (fractions != fractions.max()), dtype=np.bool_)


def conformal_threshold(holdout_scores: npt.ArrayLike, false_alarms: float = 0.01) -> Threshold | None:
    """Return the smallest held-out score that guarantees the target false-positive rate, or the largest if none does.

    r = min(⌈(n + 1)(1 - a)⌉, n), the threshold is the r-th smallest of the n scores, and the bound 1 - r/(n + 1).
    When n < 1/a - 1 the bound is above a.

    Args:
        holdout_scores: (n,) scores of good images that neither adapter, bank, median nor MAD has seen.
        false_alarms: a, the target false-positive rate.

    Returns:
        The threshold, or None where nothing is held out.

    Raises:
        ValueError: the rate is outside (0, 1), or a score is not finite.

    Example:
        >>> from reconpatch import conformal_threshold
        >>> conformal_threshold(range(1, 100), false_alarms=0.05).value
        95.0
    """
    if not 0.0 < false_alarms < 1.0:
        raise ValueError(f"The false-alarm rate is {false_alarms}; give a share above 0 and below 1.")
    scores = _sorted(holdout_scores)
    n = len(scores)
    if n == 0:
        return None
    # (n + 1) · (1 - a) in floats can land just above a whole number that it should be.
    rank = min(max(math.ceil((n + 1) * (1.0 - false_alarms) - 1e-9), 1), n)
    return Threshold(float(scores[rank - 1]), 1.0 - rank / (n + 1), rank, n)


def p_values(scores: npt.ArrayLike, holdout_scores: npt.ArrayLike) -> npt.NDArray[np.float64] | None:
    """Return conformal p-values (1 + #{held-out scores ≥ score}) / (n + 1).

    Args:
        scores: (m,) image scores.
        holdout_scores: (n,) as for `conformal_threshold`.

    Returns:
        (m,) float64 in (0, 1], or None where nothing is held out.

    Raises:
        ValueError: a score is not finite.

    Example:
        >>> from reconpatch import p_values
        >>> p_values([5.0, 0.5], [1.0, 2.0, 3.0])
        array([0.25, 1.  ])
    """
    held = _sorted(holdout_scores)
    new = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(new).all():
        raise ValueError("A score is not finite; it has no p-value.")
    if len(held) == 0:
        return None
    at_least = len(held) - np.searchsorted(held, new, side="left")
    return np.asarray((1.0 + at_least) / (len(held) + 1.0), dtype=np.float64)


def _sorted(holdout_scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    scores = np.sort(np.asarray(holdout_scores, dtype=np.float64))
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError("The held-out scores must be one list of finite numbers.")
    return scores
