"""Training outliers: good images that differ from all other good images, for example because of an unnoticed defect.

The memory bank contains patches of the training image itself, so the image's scores are low even if it is unusual.
Here, each image is compared only with the bank entries of *other* images, and its largest distance is compared with
the largest distances of all good images.
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
    """The patch of an image that is farthest from the bank entries of other images.

    Attributes:
        distance: Euclidean distance (eq. 9) to the nearest entry of another image; NaN if there is no such entry.
        patch: Number of the patch in the image, in row-major order.
        entry: Row of the nearest entry in the bank; -1 if there is no entry of another image.
    """

    distance: float
    patch: int
    entry: int


def unexplained(features: Array, nearest: Array, bank: MemoryBank, own: Array) -> Unexplained:
    """Return the patch of an image with the largest distance to the nearest bank entry of another image.

    Args:
        features: (n, D) array or tensor of embeddings f(p) of the image's patches.
        nearest: (n,) integer rows of the nearest bank entries from a leave-one-out query (`MemoryBank.query`); -1 marks
            a patch without an entry.
        bank: Memory bank with (M, D) entries.
        own: (m,) integer rows of the bank entries that are patches of this image; empty for a calibration image.

    Returns:
        The patch with the largest distance, the first of several.
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
        scores: (n,) float64 mean over the members of the modified z-score (eq. 11) of the image's largest distance
            among all images. NaN if a member has no distance for the image. A member whose distances are all equal
            contributes 0.
        members: (n,) int64 number of the member with the highest score of the image.
        is_outlier: (n,) bool, whether the score is above `outlier_threshold(n)`.
    """

    scores: npt.NDArray[np.float64]
    members: npt.NDArray[np.int64]
    is_outlier: npt.NDArray[np.bool_]

    suspicious = RenamedAttribute("is_outlier")


def outlier_scores(distances: npt.ArrayLike) -> OutlierScores:
    """Return the outlier scores of images: modified z-scores of their largest distances, averaged over the members.

    Args:
        distances: (members, n) distances from `unexplained`; NaN marks an image without a distance.

    Returns:
        The scores, in robust standard deviations, and the images that are training outliers.
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
    """Return the outlier score above which one of n images is a training outlier: 5 · (1 + 6 / n).

    The usual limit of 3.5 (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers) assumes a normal distribution
    with known median and MAD. The largest of many distances is closer to a Gumbel distribution, and the median and MAD
    of few images are uncertain. This threshold flags two in a thousand ordinary images for n between 10 and 500.

    Args:
        n: Number of good images, 0 or more.

    Returns:
        The threshold, in robust standard deviations.
    """
    return 5.0 * (1.0 + 6.0 / max(n, 1))
