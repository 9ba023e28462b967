"""Bank entries that no other image supports: what a defect among the good images leaves in the bank."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def isolation(
    entries: npt.NDArray[np.float32], of_image: npt.NDArray[np.int64], rows: npt.NDArray[Any], per_image: int
) -> npt.NDArray[np.float32]:
    """Distance from every entry to the nearest patch of another image than its own.

    Args:
        entries: (M, D).
        of_image: (M,) the image each entry comes from.
        rows: (n, D) all fit patches, images under each other.
        per_image: rows of an image.

    Returns:
        (M,) Euclidean; inf where there is no other image.
    """
    centre = torch.from_numpy(entries.mean(0))
    ours = torch.from_numpy(entries) - centre
    norms = ours.square().sum(1)
    nearest = torch.full((len(entries),), torch.inf)
    image = torch.from_numpy(of_image)
    for number in range(len(rows) // per_image):
        theirs = torch.from_numpy(np.asarray(rows[number * per_image : (number + 1) * per_image], np.float32)) - centre
        squared = torch.addmm(theirs.square().sum(1), ours, theirs.T, alpha=-2.0).amin(1) + norms
        nearest = torch.where(image == number, nearest, torch.minimum(nearest, squared))
    return nearest.clamp(min=0.0).sqrt().numpy()


def supported(distances: npt.NDArray[np.float32], trim: float) -> npt.NDArray[np.bool_]:
    """All but the `trim` share of entries that are farthest from other images; at least one stays."""
    most = max(1, round((1.0 - trim) * len(distances)))
    keep = np.zeros(len(distances), bool)
    keep[np.argsort(distances, kind="stable")[:most]] = True
    return keep
