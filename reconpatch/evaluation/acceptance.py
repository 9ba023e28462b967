"""The acceptance test: whether a candidate may replace the active model, decided without labeled defects.

Defects are rarely labeled, so the test uses the calibration images. It checks that the candidate's scores are finite
and not all equal, and that a threshold computed from half of the calibration images keeps its guaranteed bound on the
other half. A model that does not respond to defects passes both checks. The candidate must therefore also separate
copies of the images with pasted defects from their originals, about as well as the active model does. If there are
labeled defects, they are compared in the same way.
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

FEWEST = 20  # with fewer calibration images the test is inconclusive
_UNLIKELY = 1e-3  # significance level of the check of the bound: it rejects one in a thousand sound candidates
_SURE = 0.8  # share of resamples in which a candidate must be worse to be rejected
_LABELED = "labelled"  # the stored value; messages use the American spelling


class AcceptanceStatus(StrEnum):
    """Outcome of an acceptance test.

    Attributes:
        PASSED: The candidate may replace the active model.
        INCONCLUSIVE: There are too few images for a decision. The candidate may replace the active model.
        REJECTED: The active model stays active.
    """

    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"

    @classmethod
    def _missing_(cls, value: object) -> AcceptanceStatus | None:
        """Return the status for a value that an earlier version stored; None for any other value."""
        return {"unproven": cls.INCONCLUSIVE, "refused": cls.REJECTED}.get(str(value))


@dataclass(frozen=True)
class Evidence:
    """Anomaly scores of one model for the images of an acceptance test.

    Attributes:
        good: (n,) float64 scores of the calibration images, in an order that does not depend on their content.
        copies: (n,) float64 scores of their copies with pasted defects, in the same order.
        real: (m,) float64 scores of the labeled test images; empty if no defects are labeled.
    """

    good: npt.NDArray[np.float64]
    copies: npt.NDArray[np.float64]
    real: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """AUROC of the candidate and of the active model on the same images.

    Attributes:
        of: Kind of defects: 'pasted' or 'labelled'.
        candidate: AUROC of the candidate, in [0, 1].
        active: AUROC of the active model, in [0, 1].
        worse: Share of the paired bootstrap resamples in which the AUROC of the candidate is lower by more than the
            margin, in [0, 1].
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
        status: Outcome of the test.
        reasons: Sentences that explain why the candidate was rejected or the test is inconclusive; empty if it passed.
        images: Number of calibration images.
        comparisons: Comparisons with the active model; empty without an active model.
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
        candidate: Scores of the candidate.
        active: Scores of the active model for the same images; None if the category has no active model.
        labels: (m,) labels of `Evidence.real`: 0 good, 1 defective.
        false_alarms: Target false-positive rate, in (0, 1).
        margin: Largest accepted loss in AUROC of the candidate against the active model, 0 or more.

    Returns:
        The result. A candidate whose scores are not finite or all equal is rejected, even if there are few images.

    Raises:
        ValueError: The numbers of scores and labels do not match.
    """
    truth = np.asarray(labels, np.int64)
    for evidence in (candidate, active or candidate):
        if evidence.good.shape != evidence.copies.shape or evidence.real.shape != truth.shape:
            raise ValueError(
                f"Expected one copy per good image and one label per test image; got shapes {evidence.good.shape} "
                f"(good), {evidence.copies.shape} (copies), {evidence.real.shape} (real) and {truth.shape} (labels)."
            )
    if active is not None and active.good.shape != candidate.good.shape:
        raise ValueError(
            f"Candidate and active model must score the same images; got scores of {len(candidate.good)} and "
            f"{len(active.good)} good images."
        )
    n = len(candidate.good)
    reasons = _unusable(candidate)
    if reasons:
        return AcceptanceResult(AcceptanceStatus.REJECTED, tuple(reasons), n)
    if n < FEWEST:
        few = f"There are {n} calibration images; the acceptance test needs at least {FEWEST} to be conclusive."
        return AcceptanceResult(AcceptanceStatus.INCONCLUSIVE, (few,), n)
    reasons += _broken_bound(candidate.good, false_alarms)
    comparisons = [] if active is None else _comparisons(candidate, active, truth, margin)
    reasons += [
        f"The AUROC for {'labeled' if compared.of == _LABELED else compared.of} defects is {compared.candidate:.4f} "
        f"(active model: {compared.active:.4f}). In {compared.worse:.0%} of the bootstrap resamples, it is lower than "
        f"that of the active model by more than {margin:g}."
        for compared in comparisons
        if compared.worse >= _SURE
    ]
    status = AcceptanceStatus.REJECTED if reasons else AcceptanceStatus.PASSED
    return AcceptanceResult(status, tuple(reasons), n, tuple(comparisons))


@renamed_arguments({"suspects": "outliers"})
def too_many_outliers(outliers: int, images: int, share: float) -> bool:
    """Return whether there are too many training outliers to accept a model of these images.

    Args:
        outliers: Number of training outliers. A single outlier is always accepted.
        images: Number of good images.
        share: Largest accepted share of outliers among the good images, in [0, 1].

    Returns:
        True if there are more than max(1, share · images) outliers.
    """
    return outliers > max(1.0, share * images)


def _unusable(evidence: Evidence) -> list[str]:
    """Return the reason why scores are unusable for any number of images, or an empty list."""
    scores = np.concatenate([evidence.good, evidence.copies, evidence.real])
    if not np.isfinite(scores).all():
        return [f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite."]
    if len(evidence.good) > 1 and np.ptp(np.concatenate([evidence.good, evidence.copies])) == 0.0:
        return [f"All images have the score {scores[0]:g}; the model does not separate any images."]
    return []


def _broken_bound(good: npt.NDArray[np.float64], false_alarms: float) -> list[str]:
    """Compute a threshold from every second image and check its guaranteed bound on the other images.

    The threshold is the r-th smallest of n scores. If all scores are exchangeable, the number of other scores above it
    is beta-binomial with the parameters n - r + 1 and r, for any distribution of the scores. This includes the
    variation of the threshold itself.
    """
    first, second = good[::2], good[1::2]
    threshold = conformal_threshold(first, false_alarms)
    assert threshold is not None
    alarms = int((second > threshold.value).sum())
    chance = float(betabinom.sf(alarms - 1, len(second), threshold.n - threshold.rank + 1, threshold.rank))
    if chance >= _UNLIKELY:
        return []
    return [
        f"A threshold from {len(first)} calibration images guarantees a false-positive rate of at most "
        f"{threshold.false_alarm_bound:.1%}, but it flags {alarms} of the other {len(second)}."
    ]


def _comparisons(
    candidate: Evidence, active: Evidence, labels: npt.NDArray[np.int64], margin: float
) -> list[Comparison]:
    """Return the comparisons on pasted and, if there are any, on labeled defects."""
    pasted = np.repeat([0, 1], len(candidate.good))
    candidate_scores, active_scores = (np.concatenate([model.good, model.copies]) for model in (candidate, active))
    scored = [("pasted", candidate_scores, active_scores, pasted)]
    if 0 < labels.sum() < len(labels):
        scored.append((_LABELED, candidate.real, active.real, labels))
    comparisons = []
    for of, candidate_scores, active_scores, truth in scored:
        candidate_wins, active_wins = wins(candidate_scores, truth), wins(active_scores, truth)
        gains = resampled_means(candidate_wins - active_wins, np.random.default_rng(0))
        worse = float((gains < -margin).mean())
        comparisons.append(Comparison(of, float(candidate_wins.mean()), float(active_wins.mean()), worse))
    return comparisons
