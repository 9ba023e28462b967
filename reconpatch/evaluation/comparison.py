"""Differences between two models on the same images, with confidence intervals.

Of AUROC by DeLong, DeLong and Clarke-Pearson (1988), of other metrics by a paired bootstrap (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from reconpatch.deprecated_arguments import renamed_arguments

RESAMPLES = 4000
_SHARE = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric of one model minus that of another, and its 95 % interval.

    Attributes:
        value: the difference.
        low: lower end of the interval.
        high: upper end of the interval.
        deviation: standard error; 0 where the two models rank alike.
        p_value: two-sided p-value of no difference; None where it was not computed, or nothing differs.
    """

    value: float
    low: float
    high: float
    deviation: float
    p_value: float | None = None


def wins(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return which defective image scores higher than which good one; the mean is AUROC (Mann and Whitney 1947).

    Args:
        scores: (n,) finite.
        labels: (n,) 0 good, 1 defective.

    Returns:
        (defective, good) float64: 1 where the defective image scores higher, 1/2 where they score alike, else 0.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels)
    defective, good = values[truth == 1][:, None], values[truth == 0]
    return np.asarray((defective > good) + 0.5 * (defective == good))


def resampled_means(
    pairs: npt.NDArray[np.float64], random: np.random.Generator, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """Return means of a (defective, good) table over resampled images, good and defective ones separately.

    Args:
        pairs: (d, g), neither 0; for a paired bootstrap the difference of two models' `wins`.
        random: generator of the resamples.
        resamples: number of resamples.

    Returns:
        (resamples,) float64.
    """
    rows, columns = (random.multinomial(side, np.full(side, 1.0 / side), resamples) / side for side in pairs.shape)
    return np.asarray(((rows @ pairs) * columns).sum(axis=1))


def interval(resampled: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the bootstrap's 95 % interval of a metric: the 2.5 % and 97.5 % quantiles of its resamples.

    Args:
        resampled: (n,) the metric of each resample.
    """
    low, high = np.quantile(resampled, [(1.0 - _SHARE) / 2.0, (1.0 + _SHARE) / 2.0])
    return float(low), float(high)


def auroc_difference(ours: npt.ArrayLike, other: npt.ArrayLike, labels: npt.ArrayLike) -> Difference:
    """Return the difference of two correlated areas under ROC curves, with DeLong's variance.

    With V10 the share of good images that a defective one beats, and V01 the share of defective ones that beat a good
    one, var = s²(V10 - V10') / defective + s²(V01 - V01') / good.

    Args:
        ours: (n,) finite scores of one model.
        other: (n,) finite scores of the other model for the same images.
        labels: (n,) 0 good, 1 defective; at least two of each.

    Raises:
        ValueError: there are fewer than two images of a class, or another number of scores than of labels.
    """
    truth = np.asarray(labels)
    our_placements, other_placements = (_placements(np.asarray(scores, np.float64), truth) for scores in (ours, other))
    if min(len(placements) for placements in our_placements) < 2:
        raise ValueError("DeLong's interval needs at least two good and two defective images.")
    value = float(our_placements[0].mean() - other_placements[0].mean())
    variance = sum(float((a - b).var(ddof=1)) / len(a) for a, b in zip(our_placements, other_placements, strict=True))
    return _normal(value, float(np.sqrt(variance)))


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """Return the mean of independent differences, such as those of categories with different images.

    Its standard error is sqrt(Σ deviation²) / n, its interval that of a normal distribution.

    Args:
        differences: at least one.

    Raises:
        ValueError: there are no differences.
    """
    if not differences:
        raise ValueError("There is no difference to take the mean of.")
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
    """Return differences of any metrics by a paired bootstrap; good and defective images are resampled separately.

    Args:
        metrics: function of (n,) scores and (n,) labels to metrics by name; None where a metric is not defined.
        ours: (n,) finite scores of one model.
        other: (n,) finite scores of the other model for the same images.
        labels: (n,) 0 good, 1 defective.
        resamples: number of resamples.

    Returns:
        Differences of the metrics that are defined for all images, by name. Resamples in which a metric is not defined
        are left out.
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
    """Return a difference that is normally distributed."""
    if deviation == 0.0:
        return Difference(value, value, value, 0.0)
    reach = float(norm.ppf((1.0 + _SHARE) / 2.0)) * deviation
    return Difference(value, value - reach, value + reach, deviation, float(2.0 * norm.sf(abs(value) / deviation)))


def _placements(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return V10 of each defective and V01 of each good image; equal scores count half."""
    if scores.shape != truth.shape:
        raise ValueError(
            f"Expected one label per score; got scores of shape {scores.shape} and labels of shape {truth.shape}."
        )
    good, defective = scores[truth == 0], scores[truth == 1]
    return _share_below(good, defective), 1.0 - _share_below(defective, good)


def _share_below(reference: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the share of the reference scores that is below each score."""
    ordered = np.sort(reference)
    twice = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(twice / max(2, 2 * len(ordered)))
