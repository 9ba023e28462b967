"""Whether a candidate may take the champion's place, judged by good images alone.

Defects are rarely labelled, so a candidate is asked what good images can tell: that its scores are numbers and differ,
that a threshold taken from half of the held-out images keeps its promise on the other half, and, since a model that
has gone blind passes all that, that it tells copies with pasted defects from their originals about as well as the
champion does. Labelled defects are asked too where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from reconpatch.comparison import resampled_means, wins
from reconpatch.thresholds import conformal_threshold

FEWEST = 20  # held-out images below which nothing is proven
_UNLIKELY = 1e-3  # of a promise that holds: one in a thousand candidates is refused in vain
_SURE = 0.8  # share of resamples that have to say that a candidate is worse


@dataclass(frozen=True)
class Evidence:
    """A model's scores of the images that a gate asks about.

    Attributes:
        good: (n,) fused image scores of held-out good images, in an order that has nothing to do with them.
        copies: (n,) of their copies with pasted defects, in the same order.
        real: (m,) of labelled test images; none where there are no labelled defects.
    """

    good: npt.NDArray[np.float64]
    copies: npt.NDArray[np.float64]
    real: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """How well candidate and champion tell defective from good.

    Attributes:
        of: 'pasted' or 'labelled' defects.
        candidate, champion: AUROC.
        worse: share of paired bootstrap resamples in which the candidate is worse by more than the margin.
    """

    of: str
    candidate: float
    champion: float
    worse: float


@dataclass(frozen=True)
class Ruling:
    """What the gate says.

    Attributes:
        status: 'passed', 'unproven' (too few images to prove anything: it passes) or 'refused'.
        reasons: sentences; why it was refused, or what could not be proven.
        images: held-out good images that were asked about.
        comparisons: with the champion, where there is one.
    """

    status: str
    reasons: tuple[str, ...]
    images: int
    comparisons: tuple[Comparison, ...] = ()


def rule(
    candidate: Evidence,
    champion: Evidence | None,
    labels: npt.ArrayLike,
    false_alarms: float,
    margin: float = 0.02,
) -> Ruling:
    """Let a candidate pass or refuse it.

    Args:
        candidate, champion: scores of the same images; no champion for a category's first model.
        labels: (m,) 0 good, 1 defective, of `Evidence.real`.
        false_alarms: a, the wished false-alarm rate.
        margin: of AUROC by which a candidate may be worse than the champion.

    Raises:
        ValueError: evidence of different images.
    """
    truth = np.asarray(labels, np.int64)
    for each in (candidate, champion or candidate):
        if each.good.shape != each.copies.shape or each.real.shape != truth.shape:
            raise ValueError("Good images and copies, or real images and labels, are not of the same number.")
    if champion is not None and champion.good.shape != candidate.good.shape:
        raise ValueError("Candidate and champion have not scored the same images.")
    n = len(candidate.good)
    reasons = _sound(candidate)
    if reasons:
        return Ruling("refused", tuple(reasons), n)
    if n < FEWEST:
        few = f"{n} held-out good images, fewer than {FEWEST}: nothing is proven."
        return Ruling("unproven", (few,), n)
    reasons += _promise(candidate.good, false_alarms)
    comparisons = [] if champion is None else _comparisons(candidate, champion, truth, margin)
    reasons += [
        f"AUROC of {each.of} defects {each.candidate:.4f}, the champion's {each.champion:.4f}: worse by more than "
        f"{margin:g} in {each.worse:.0%} of resamples."
        for each in comparisons
        if each.worse >= _SURE
    ]
    return Ruling("refused" if reasons else "passed", tuple(reasons), n, tuple(comparisons))


def too_many_suspects(suspects: int, images: int, share: float) -> bool:
    """Whether so many good images are unlike all the others that what was learned from them is not to be trusted.

    Args:
        suspects: of the images, those that `reconpatch.audit` calls suspicious; one alone never is too many.
        share: of the images that may be.
    """
    return suspects > max(1.0, share * images)


def _sound(evidence: Evidence) -> list[str]:
    """What is wrong with scores of any number of images."""
    scores = np.concatenate([evidence.good, evidence.copies, evidence.real])
    if not np.isfinite(scores).all():
        return [f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite."]
    if len(evidence.good) > 1 and np.ptp(np.concatenate([evidence.good, evidence.copies])) == 0.0:
        return [f"All images score {scores[0]:g}: the model tells nothing apart."]
    return []


def _promise(good: npt.NDArray[np.float64], false_alarms: float) -> list[str]:
    """The threshold of every other image, tried on those between.

    Of exchangeable scores, the number in the second half above the r-th of the first half's n is beta-binomial with
    n - r + 1 and r, whatever they are distributed like: binomial, the threshold's own luck counted.
    """
    first, second = good[::2], good[1::2]
    threshold = conformal_threshold(first, false_alarms)
    assert threshold is not None
    alarms = int((second > threshold.value).sum())
    chance = float(betabinom.sf(alarms - 1, len(second), threshold.n - threshold.rank + 1, threshold.rank))
    if chance >= _UNLIKELY:
        return []
    return [
        f"A threshold from {len(first)} held-out images promises at most {threshold.false_alarm_bound:.1%} false "
        f"alarms and raised {alarms} of {len(second)} on the others."
    ]


def _comparisons(
    candidate: Evidence, champion: Evidence, labels: npt.NDArray[np.int64], margin: float
) -> list[Comparison]:
    pasted = np.repeat([0, 1], len(candidate.good))
    ours, theirs = (np.concatenate([each.good, each.copies]) for each in (candidate, champion))
    asked = [("pasted", ours, theirs, pasted)]
    if 0 < labels.sum() < len(labels):
        asked.append(("labelled", candidate.real, champion.real, labels))
    found = []
    for of, ours, theirs, truth in asked:
        mine, other = wins(ours, truth), wins(theirs, truth)
        gains = resampled_means(mine - other, np.random.default_rng(0))
        worse = float((gains < -margin).mean())
        found.append(Comparison(of, float(mine.mean()), float(other.mean()), worse))
    return found
