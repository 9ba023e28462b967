"""Two models on the same images: what one gains over the other, and how sure that is.

Of AUROC by DeLong, DeLong and Clarke-Pearson (1988), of whatever else by a paired bootstrap (Efron and Tibshirani 1993,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

RESAMPLES = 4000
_SHARE = 0.95


@dataclass(frozen=True)
class Difference:
    """Ours less the other's, and its 95 % interval.

    Attributes:
        deviation: standard error; 0 where the two rank alike.
        p_value: of no difference, two-sided; None where it has not been asked, or nothing differs.
    """

    value: float
    low: float
    high: float
    deviation: float
    p_value: float | None = None


def wins(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Which defective image scores higher than which good one; the mean is AUROC (Mann and Whitney 1947).

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
    """Means of a (defective, good) table over images drawn anew, good and defective ones apart.

    Args:
        pairs: (d, g), neither 0; for a paired bootstrap the difference of two models' `wins`.
        random: draws the images.

    Returns:
        (resamples,) float64.
    """
    rows, columns = (random.multinomial(side, np.full(side, 1.0 / side), resamples) / side for side in pairs.shape)
    return np.asarray(((rows @ pairs) * columns).sum(axis=1))


def interval(resampled: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
    """The bootstrap's 95 % interval of a number: what lies between the 2.5 % and 97.5 % quantiles of its resamples.

    Args:
        resampled: (n,) the number, computed of each resample.
    """
    low, high = np.quantile(resampled, [(1.0 - _SHARE) / 2.0, (1.0 + _SHARE) / 2.0])
    return float(low), float(high)


def auroc_difference(ours: npt.ArrayLike, other: npt.ArrayLike, labels: npt.ArrayLike) -> Difference:
    """The difference of two correlated areas under ROC curves, by DeLong's variance.

    With V10 the share of good images that a defective one beats, and V01 the share of defective ones that beat a good
    one, var = s²(V10 - V10') / defective + s²(V01 - V01') / good.

    Args:
        ours, other: (n,) finite scores of the same images.
        labels: (n,) 0 good, 1 defective; two of each at least.

    Raises:
        ValueError: fewer than two of a kind, or other numbers of scores.
    """
    truth = np.asarray(labels)
    mine, theirs = (_placements(np.asarray(each, np.float64), truth) for each in (ours, other))
    if min(len(mine[0]), len(mine[1])) < 2:
        raise ValueError("DeLong's interval needs at least two good and two defective images.")
    value = float(mine[0].mean() - theirs[0].mean())
    variance = sum(float((a - b).var(ddof=1)) / len(a) for a, b in zip(mine, theirs, strict=True))
    return _normal(value, float(np.sqrt(variance)))


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """The mean of differences that have nothing to do with each other: categories of other images.

    Its standard error is sqrt(Σ deviation²) / n, its interval that of a normal distribution.

    Raises:
        ValueError: there is none.
    """
    if not differences:
        raise ValueError("There is no difference to take the mean of.")
    value = float(np.mean([each.value for each in differences]))
    deviation = float(np.sqrt(np.sum([each.deviation**2 for each in differences]))) / len(differences)
    return _normal(value, deviation)


def resampled_differences(
    metrics: Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], Mapping[str, float | None]],
    ours: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    resamples: int = 1000,
) -> dict[str, Difference]:
    """Differences of any metrics, over images drawn anew, good and defective ones apart, the same for both.

    Args:
        metrics: of (n,) scores and (n,) labels; a metric that is not defined of them is None.
        ours, other, labels: as of `auroc_difference`.

    Returns:
        The metrics that are defined for all images, by name; resamples in which one is not defined are passed over.
    """
    truth = np.asarray(labels, np.int64)
    both = [np.asarray(each, np.float64) for each in (ours, other)]
    good, defective = np.flatnonzero(truth == 0), np.flatnonzero(truth == 1)
    random = np.random.default_rng(0)
    whole = [metrics(each, truth) for each in both]
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        chosen = np.concatenate([random.choice(each, len(each)) for each in (good, defective)])
        mine, theirs = (metrics(each[chosen], truth[chosen]) for each in both)
        for name, value in mine.items():
            reference = theirs[name]
            if value is not None and reference is not None:
                drawn.setdefault(name, []).append(value - reference)
    found = {}
    for name, values in drawn.items():
        ours_of_all, other_of_all = whole[0][name], whole[1][name]
        if ours_of_all is not None and other_of_all is not None:
            found[name] = Difference(ours_of_all - other_of_all, *interval(values), float(np.std(values)))
    return found


def _normal(value: float, deviation: float) -> Difference:
    """A difference that is normally distributed."""
    if deviation == 0.0:
        return Difference(value, value, value, 0.0)
    reach = float(norm.ppf((1.0 + _SHARE) / 2.0)) * deviation
    return Difference(value, value - reach, value + reach, deviation, float(2.0 * norm.sf(abs(value) / deviation)))


def _placements(
    scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """V10 of each defective and V01 of each good image: equal scores count half."""
    if scores.shape != truth.shape:
        raise ValueError(f"There are {scores.shape} scores and {truth.shape} labels; give one label a score.")
    good, defective = scores[truth == 0], scores[truth == 1]
    return _share_below(good, defective), 1.0 - _share_below(defective, good)


def _share_below(others: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the others, for each score."""
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(twice / max(2, 2 * len(ordered)))
