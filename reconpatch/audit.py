"""Good images that the other good images cannot explain: where a defect hides among them, it is one of these.

A training image's own patches are in the bank, so its scores say little about it. Here each is measured against the
entries of the *other* images alone, and its largest distance is compared with those of all good images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.arrays import Array, as_tensor
from reconpatch.distances import nearest_rows
from reconpatch.fusion import score_statistics
from reconpatch.scoring import MemoryBank


@dataclass(frozen=True)
class Unexplained:
    """The patch of an image that the other images explain worst.

    Attributes:
        distance: eq. 9, to the nearest entry of another image; NaN where no other image has an entry.
        patch: its row among the image's patches.
        entry: that entry's row in the bank; -1 where there is none.
    """

    distance: float
    patch: int
    entry: int


def unexplained(features: Array, nearest: Array, bank: MemoryBank, own: Array) -> Unexplained:
    """An image's largest distance from the bank entries of other images.

    Args:
        features: (n, D) f(p) of the image's patches.
        nearest: (n,) the entry that each was compared with, leave-one-out (`MemoryBank.query`); -1 for none.
        bank: with entries (M, D).
        own: (m,) the entries that are the image's own patches; empty for an image that was held out.

    Returns:
        The patch that is farthest, ties to the first.
    """
    rows = as_tensor(features).to(bank.entries)
    found = torch.as_tensor(nearest, dtype=torch.int64, device=rows.device).clone()
    mine = torch.zeros(len(bank.entries), dtype=torch.bool, device=rows.device)
    mine[torch.as_tensor(own, dtype=torch.int64, device=rows.device)] = True
    again = (found < 0) | mine[found]
    others = torch.nonzero(~mine)[:, 0]
    if len(others) == 0:
        return Unexplained(float("nan"), 0, -1)
    if bool(again.any()):
        found[again] = others[nearest_rows(rows[again], bank.entries[others])[0][:, 0]]
    distances = torch.linalg.vector_norm(rows - bank.entries[found], dim=1)
    patch = int(distances.argmax())
    return Unexplained(float(distances[patch]), patch, int(found[patch]))


@dataclass(frozen=True)
class Suspicion:
    """What the audit says of n good images.

    Attributes:
        scores: (n,) float64, the mean over the members of eq. 11's modified z-score, taken over images; NaN where a
            member has no distance, and 0 for all where a member's distances have no spread.
        members: (n,) int64, the member that is loudest.
        suspicious: (n,) bool, whether the score is above `suspicious_above` n images.
    """

    scores: npt.NDArray[np.float64]
    members: npt.NDArray[np.int64]
    suspicious: npt.NDArray[np.bool_]


def suspicion(distances: npt.ArrayLike) -> Suspicion:
    """How far each good image's largest distance is from those of the others, in robust standard deviations.

    Args:
        distances: (members, n) of `unexplained`, NaN where there is none.
    """
    members = []
    for each in np.asarray(distances, np.float64):
        if len(np.unique(each[~np.isnan(each)])) < 2:
            members.append(np.where(np.isnan(each), np.nan, 0.0))
            continue
        found = score_statistics(each)
        members.append((each - found.median) / (found.beta * found.mad))
    scores = np.asarray(np.mean(members, axis=0), np.float64)
    loudest = np.asarray(np.argmax(np.nan_to_num(members, nan=-np.inf), axis=0), np.int64)
    return Suspicion(scores, loudest, np.asarray(scores > suspicious_above(len(scores))))


def suspicious_above(n: int) -> float:
    """The score above which one of n images is suspicious: 5 · (1 + 6 / n).

    Iglewicz and Hoaglin's 3.5 (1993, How to Detect and Handle Outliers) takes a bell curve for granted, and a median
    and MAD that are known. The largest of many distances is Gumbel distributed rather, and those of few images are
    not known well: with this, two in a thousand images that are not odd are called so, from 10 images to 500.
    """
    return 5.0 * (1.0 + 6.0 / max(n, 1))
