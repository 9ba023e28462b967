"""Differences between the metrics of two models on the same images, with confidence intervals.

The interval of an AUROC difference follows DeLong, DeLong and Clarke-Pearson (1988). Intervals of other metrics come
from a paired bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from reconpatch.deprecated_arguments import renamed_arguments

RESAMPLES = 4000  # default number of bootstrap resamples
_SHARE = 0.95  # coverage of the intervals


@dataclass(frozen=True)
class Difference:
    """Difference between a metric of one model and that of another, with its 95 % confidence interval.

    Attributes:
        value: Metric of the first model minus that of the other model.
        low: Lower end of the interval.
        high: Upper end of the interval.
        deviation: Standard error of the difference; 0 if both models rank the images in the same order.
        p_value: Two-sided p-value of the hypothesis of no difference, in [0, 1]; None if it was not computed or the
            standard error is 0.
    """

    value: float
    low: float
    high: float
    deviation: float
    p_value: float | None = None


def wins(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compare every defective image with every good image; the mean is the AUROC (Mann and Whitney 1947).

    Args:
        scores: (n,) finite anomaly scores.
        labels: (n,) labels: 0 good, 1 defective.

    Returns:
        (defective, good) float64 table: 1 if the defective image has the higher score, 0.5 if the scores are equal,
        0 if the good image has the higher score.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    defective, good = values[truth == 1][:, None], values[truth == 0]
    return np.asarray((defective > good) + 0.5 * (defective == good))


def resampled_means(
    pairs: npt.NDArray[np.float64], random: np.random.Generator, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """Return the mean of a table in each of many bootstrap resamples of its rows and, independently, its columns.

    Args:
        pairs: (defective, good) float64 table with at least one row and one column. For a paired bootstrap, pass the
            difference between the `wins` of two models.
        random: Random generator of the resamples.
        resamples: Number of resamples, at least 1.

    Returns:
        (resamples,) float64 means.
    """
    rows, columns = (random.multinomial(side, np.full(side, 1.0 / side), resamples) / side for side in pairs.shape)
    return np.asarray(((rows @ pairs) * columns).sum(axis=1))


def interval(resampled: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a metric: the 2.5 % and 97.5 % quantiles of its resamples.

    Args:
        resampled: (n,) values of the metric, one per resample, n at least 1.

    Returns:
        Lower and upper end of the interval.
    """
    low, high = np.quantile(resampled, [(1.0 - _SHARE) / 2.0, (1.0 + _SHARE) / 2.0])
    return float(low), float(high)


def auroc_difference(ours: npt.ArrayLike, other: npt.ArrayLike, labels: npt.ArrayLike) -> Difference:
    """Return the difference between the AUROCs of two models on the same images, with DeLong's variance.

    V10 of a defective image is the share of good images with a lower score, and V01 of a good image is the share of
    defective images with a higher score. The variance is s²(V10 - V10') / defective + s²(V01 - V01') / good, where the
    prime marks the other model and s² is the sample variance.

    Args:
        ours: (n,) finite anomaly scores of the first model.
        other: (n,) finite anomaly scores of the other model for the same images.
        labels: (n,) labels: 0 good, 1 defective; at least two of each.

    Returns:
        The difference `ours` minus `other`.

    Raises:
        ValueError: There are fewer than two good or two defective images, or the numbers of scores and labels differ.
    """
    truth = np.asarray(labels)
    our_placements, other_placements = (_placements(np.asarray(scores, np.float64), truth) for scores in (ours, other))
    if min(len(placements) for placements in our_placements) < 2:
        numbers = [len(placements) for placements in reversed(our_placements)]
        raise ValueError(
            f"DeLong's interval needs at least two good and two defective images; got {numbers[0]} and {numbers[1]}."
        )
    value = float(our_placements[0].mean() - other_placements[0].mean())
    variance = sum(float((a - b).var(ddof=1)) / len(a) for a, b in zip(our_placements, other_placements, strict=True))
    return _normal(value, float(np.sqrt(variance)))


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """Return the mean of independent differences, for example those of several categories.

    The standard error is sqrt(Σ deviation²) / n, and the interval assumes a normal distribution.

    Args:
        differences: Differences to average, at least one.

    Returns:
        The mean difference.

    Raises:
        ValueError: There are no differences.
    """
    if not differences:
        raise ValueError("The mean needs at least one difference.")
    value = float(np.mean([difference.value for difference in differences]))
    deviation = float(np.sqrt(np.sum([difference.deviation**2 for difference in differences]))) / len(differences)
    return _normal(value, deviation)


@renamed_arguments({})
def resampled_differences(
    metrics: Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], Mapping[str, float | None]],
    ours: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    resamples: int = 1000,
) -> dict[str, Difference]:
    """Return differences of any metrics by a paired bootstrap, which resamples good and defective images separately.

    Args:
        metrics: Function that takes (n,) scores and (n,) labels and returns metrics by name; None marks a metric that
            is not defined.
        ours: (n,) finite anomaly scores of the first model.
        other: (n,) finite anomaly scores of the other model for the same images.
        labels: (n,) labels: 0 good, 1 defective.
        resamples: Number of resamples, at least 1.

    Returns:
        Differences `ours` minus `other` by the name of the metric, for the metrics that are defined on all images.
        Resamples in which a metric is not defined are ignored.
    """
    truth = np.asarray(labels, np.int64)
    both = [np.asarray(scores, np.float64) for scores in (ours, other)]
    good, defective = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)
    random = np.random.default_rng(0)
    of_all, reference_of_all = (metrics(scores, truth) for scores in both)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = np.concatenate([random.choice(images, len(images)) for images in (good, defective)])
        resampled, resampled_reference = (metrics(scores[chosen], truth[chosen]) for scores in both)
        for name, value in resampled.items():
            reference = resampled_reference[name]
            if value is not None and reference is not None:
                drawn.setdefault(name, []).append(value - reference)
    differences = {}
    for name, values in drawn.items():
        value, reference = of_all[name], reference_of_all[name]
        if value is not None and reference is not None:
            differences[name] = Difference(value - reference, *interval(values), float(np.std(values)))
    return differences


def _normal(value: float, deviation: float) -> Difference:
    """Return a difference whose interval and p-value assume a normal distribution."""
    if deviation == 0.0:
        return Difference(value, value, value, 0.0)
    reach = float(norm.ppf((1.0 + _SHARE) / 2.0)) * deviation
    return Difference(value, value - reach, value + reach, deviation, float(2.0 * norm.sf(abs(value) / deviation)))


def _placements(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return V10 of each defective and V01 of each good image. Equal scores count as one half."""
    if scores.shape != truth.shape:
        raise ValueError(
            f"Expected one label per score; got scores of shape {scores.shape} and labels of shape {truth.shape}."
        )
    good, defective = scores[truth == 0], scores[truth == 1]
    return _share_below(good, defective), 1.0 - _share_below(defective, good)


def _share_below(reference: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return, for each score, the share of the reference scores that are below it."""
    ordered = np.sort(reference)
    twice = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(twice / max(2, 2 * len(ordered)))
