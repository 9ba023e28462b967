"""Training outliers: good images that the other good images do not explain. A hidden defect is one of them.

A training image's own patches are in the memory bank, so its scores say little about it. Here each image is measured
against the entries of the *other* images alone, and its largest distance is compared with those of all good images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.arrays import Array, as_tensor
from reconpatch.deprecated_arguments import RenamedAttribute
from reconpatch.detector.fusion import score_statistics
from reconpatch.neighbors.distances import nearest_rows
from reconpatch.neighbors.memory_bank import MemoryBank


@dataclass(frozen=True)
class Unexplained:
    """The patch of an image that the other images explain worst.

    Attributes:
        distance: eq. 9, to the nearest entry of another image; NaN where no other image has an entry.
        patch: row of the patch among the image's patches.
        entry: row of that entry in the bank; -1 where there is none.
    """

    distance: float
    patch: int
    entry: int


def unexplained(features: Array, nearest: Array, bank: MemoryBank, own: Array) -> Unexplained:
    """Return an image's largest distance from the bank entries of other images.

    Args:
        features: (n, D) f(p) of the image's patches.
        nearest: (n,) the entry that each patch was compared with, leave-one-out (`MemoryBank.query`); -1 for none.
        bank: memory bank with entries (M, D).
        own: (m,) entries that are the image's own patches; empty for an image that was held out.

    Returns:
        The patch with the largest distance; ties go to the first.
    """
    rows = as_tensor(features).to(bank.entries)
    entries = torch.as_tensor(nearest, dtype=torch.int64, device=rows.device).clone()
    is_own = torch.zeros(len(bank.entries), dtype=torch.bool, device=rows.device)
    is_own[torch.as_tensor(own, dtype=torch.int64, device=rows.device)] = True
    unmatched = (entries < 0) | is_own[entries]
    foreign = torch.nonzero(~is_own)[:, 0]
    if len(foreign) == 0:
        return Unexplained(float("nan"), 0, -1)
    if bool(unmatched.any()):
        entries[unmatched] = foreign[nearest_rows(rows[unmatched], bank.entries[foreign])[0][:, 0]]
    distances = torch.linalg.vector_norm(rows - bank.entries[entries], dim=1)
    patch = int(distances.argmax())
    return Unexplained(float(distances[patch]), patch, int(entries[patch]))


@dataclass(frozen=True)
class OutlierScores:
    """Outlier scores of n good images.

    Attributes:
        scores: (n,) float64, the mean over the members of eq. 11's modified z-score, taken over images; NaN where a
            member has no distance, and 0 for all where a member's distances have no spread.
        members: (n,) int64, the member with the highest score.
        is_outlier: (n,) bool, whether the score is above `outlier_threshold` of n images.
    """

    scores: npt.NDArray[np.float64]
    members: npt.NDArray[np.int64]
    is_outlier: npt.NDArray[np.bool_]

    suspicious = RenamedAttribute("is_outlier")


def outlier_scores(distances: npt.ArrayLike) -> OutlierScores:
    """Return how far each image's largest distance is from those of the others, in robust standard deviations.

    Args:
        distances: (members, n) of `unexplained`, NaN where there is none.
    """
    member_scores = []
    for of_member in np.asarray(distances, np.float64):
        if len(np.unique(of_member[~np.isnan(of_member)])) < 2:
            member_scores.append(np.where(np.isnan(of_member), np.nan, 0.0))
            continue
        statistics = score_statistics(of_member)
        member_scores.append((of_member - statistics.median) / (statistics.beta * statistics.mad))
    scores = np.asarray(np.mean(member_scores, axis=0), np.float64)
    highest = np.asarray(np.argmax(np.nan_to_num(member_scores, nan=-np.inf), axis=0), np.int64)
    return OutlierScores(scores, highest, np.asarray(scores > outlier_threshold(len(scores))))


def outlier_threshold(n: int) -> float:
    """Return the score above which one of n images is a training outlier: 5 · (1 + 6 / n).

    The 3.5 of Iglewicz and Hoaglin (1993, How to Detect and Handle Outliers) assumes a normal distribution with known
    median and MAD. The largest of many distances is rather Gumbel distributed, and median and MAD of few images are
    uncertain. With this threshold two in a thousand ordinary images are flagged, from 10 images to 500.

    Args:
        n: number of good images.
    """
    return 5.0 * (1.0 + 6.0 / max(n, 1))
