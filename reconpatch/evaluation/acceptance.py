"""The acceptance test: whether a candidate model may replace the active model, decided on good images alone.

Defects are rarely labeled, so the test uses what good images can show: that the candidate's scores are finite and
differ, and that a threshold computed from half of the held-out images keeps its guaranteed bound on the other half.
A model that no longer responds to defects passes both, so it must also separate copies with pasted defects from their
originals about as well as the active model does. Labeled defects are compared too where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from reconpatch.deprecated_arguments import RenamedAttribute, renamed_arguments
from reconpatch.detector.thresholds import conformal_threshold
from reconpatch.evaluation.comparison import resampled_means, wins

FEWEST = 20  # held-out images below which the test is inconclusive
_UNLIKELY = 1e-3  # significance level of the threshold's check: one in a thousand sound candidates is rejected by it
_SURE = 0.8  # share of resamples in which a candidate must be worse to be rejected


class AcceptanceStatus(StrEnum):
    """Outcome of an acceptance test.

    Attributes:
        PASSED: the candidate may replace the active model.
        INCONCLUSIVE: too few images to tell; the candidate may replace the active model.
        REJECTED: the active model stays.
    """

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"

    @classmethod
    def _missing_(cls, value: object) -> AcceptanceStatus | None:
        """Read the values that earlier versions stored."""
        return {"unproven": cls.INCONCLUSIVE, "refused": cls.REJECTED}.get(str(value))


@dataclass(frozen=True)
class Evidence:
    """A model's scores of the images of an acceptance test.

    Attributes:
        good: (n,) fused image scores of held-out good images, in an order that does not depend on their contents.
        copies: (n,) scores of their copies with pasted defects, in the same order.
        real: (m,) scores of labeled test images; empty where there are no labeled defects.
    """

    good: npt.NDArray[np.float64]
    copies: npt.NDArray[np.float64]
    real: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """How well candidate and active model separate defective from good images.

    Attributes:
        of: which defects are compared: 'pasted' or 'labelled'.
        candidate: AUROC of the candidate.
        active: AUROC of the active model.
        worse: share of paired bootstrap resamples in which the candidate is worse by more than the margin.
    """

    of: str
    candidate: float
    active: float
    worse: float

    champion = RenamedAttribute("active")


@dataclass(frozen=True)
class AcceptanceResult:
    """Result of an acceptance test.

    Attributes:
        status: whether the candidate passed.
        reasons: sentences that say why it was rejected, or why the test is inconclusive.
        images: number of held-out good images that were compared.
        comparisons: comparisons with the active model; empty where there is none.
    """

    status: AcceptanceStatus
    reasons: tuple[str, ...]
    images: int
    comparisons: tuple[Comparison, ...] = ()


@renamed_arguments({"champion": "active"})
def acceptance_test(
    candidate: Evidence,
    active: Evidence | None,
    labels: npt.ArrayLike,
    false_alarms: float,
    *,
    margin: float = 0.02,
) -> AcceptanceResult:
    """Decide whether a candidate may replace the active model.

    Args:
        candidate: scores of the candidate.
        active: scores of the active model on the same images; None for a category's first model.
        labels: (m,) 0 good, 1 defective, of `Evidence.real`.
        false_alarms: target false-positive rate, in (0, 1).
        margin: AUROC by which a candidate may be worse than the active model.

    Returns:
        The result. A candidate whose scores are not finite or do not differ is rejected however few images there are.

    Raises:
        ValueError: the scores are of different images.
    """
    truth = np.asarray(labels, np.int64)
    for evidence in (candidate, active or candidate):
        if evidence.good.shape != evidence.copies.shape or evidence.real.shape != truth.shape:
            raise ValueError(
                f"Expected one copy per good image and one label per real image; got {evidence.good.shape} good images "
                f"and {evidence.copies.shape} copies, {evidence.real.shape} real images and {truth.shape} labels."
            )
    if active is not None and active.good.shape != candidate.good.shape:
        raise ValueError(
            f"Candidate and active model have not scored the same images: {len(candidate.good)} and "
            f"{len(active.good)} good ones."
        )
    n = len(candidate.good)
    reasons = _unusable(candidate)
    if reasons:
        return AcceptanceResult(AcceptanceStatus.REJECTED, tuple(reasons), n)
    if n < FEWEST:
        few = f"{n} held-out good images, fewer than {FEWEST}: the test is inconclusive."
        return AcceptanceResult(AcceptanceStatus.INCONCLUSIVE, (few,), n)
    reasons += _broken_bound(candidate.good, false_alarms)
    comparisons = [] if active is None else _comparisons(candidate, active, truth, margin)
    reasons += [
        f"AUROC of {compared.of} defects {compared.candidate:.4f}, the active model's {compared.active:.4f}: worse by "
        f"more than {margin:g} in {compared.worse:.0%} of resamples."
        for compared in comparisons
        if compared.worse >= _SURE
    ]
    status = AcceptanceStatus.REJECTED if reasons else AcceptanceStatus.PASSED
    return AcceptanceResult(status, tuple(reasons), n, tuple(comparisons))


@renamed_arguments({"suspects": "outliers"})
def too_many_outliers(outliers: int, images: int, share: float) -> bool:
    """Return whether there are so many training outliers that a model of these images is not to be trusted.

    Args:
        outliers: number of training outliers; a single one is never too many.
        images: number of good images.
        share: largest accepted share of outliers among the images.
    """
    return outliers > max(1.0, share * images)


def _unusable(evidence: Evidence) -> list[str]:
    """Return what is wrong with scores, whatever the number of images."""
    scores = np.concatenate([evidence.good, evidence.copies, evidence.real])
    if not np.isfinite(scores).all():
        return [f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite."]
    if len(evidence.good) > 1 and np.ptp(np.concatenate([evidence.good, evidence.copies])) == 0.0:
        return [f"All images score {scores[0]:g}: the model does not separate any images."]
    return []


def _broken_bound(good: npt.NDArray[np.float64], false_alarms: float) -> list[str]:
    """Compute a threshold from every other image and check its bound on the images between.

    Of exchangeable scores, the number in the second half above the r-th of the first half's n is beta-binomial with
    n - r + 1 and r, for any distribution of the scores. The spread of the threshold itself is part of it.
    """
    first, second = good[::2], good[1::2]
    threshold = conformal_threshold(first, false_alarms)
    assert threshold is not None
    alarms = int((second > threshold.value).sum())
    chance = float(betabinom.sf(alarms - 1, len(second), threshold.n - threshold.rank + 1, threshold.rank))
    if chance >= _UNLIKELY:
        return []
    return [
        f"A threshold from {len(first)} held-out images guarantees at most {threshold.false_alarm_bound:.1%} false "
        f"positives; it flags {alarms} of {len(second)} on the others."
    ]


def _comparisons(
    candidate: Evidence, active: Evidence, labels: npt.NDArray[np.int64], margin: float
) -> list[Comparison]:
    pasted = np.repeat([0, 1], len(candidate.good))
    candidate_scores, active_scores = (np.concatenate([model.good, model.copies]) for model in (candidate, active))
    scored = [("pasted", candidate_scores, active_scores, pasted)]
    if 0 < labels.sum() < len(labels):
        scored.append(("labelled", candidate.real, active.real, labels))
    comparisons = []
    for of, candidate_scores, active_scores, truth in scored:
        candidate_wins, active_wins = wins(candidate_scores, truth), wins(active_scores, truth)
        gains = resampled_means(candidate_wins - active_wins, np.random.default_rng(0))
        worse = float((gains < -margin).mean())
        comparisons.append(Comparison(of, float(candidate_wins.mean()), float(active_wins.mean()), worse))
    return comparisons
