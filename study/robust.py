"""Isolated bank entries, far from the patches of all other images, such as those of defects in training images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def isolation(
    entries: npt.NDArray[np.float32], of_image: npt.NDArray[np.int64], rows: npt.NDArray[Any], per_image: int
) -> npt.NDArray[np.float32]:
    """Return the distance of each bank entry to the nearest patch of another image.

    Args:
        entries: Bank entries, (M, D) float32.
        of_image: Number of the image that each entry comes from, (M,).
        rows: Patch features of all training images, (n, D), ordered by image.
        per_image: Number of patches per image.

    Returns:
        Euclidean distances, (M,) float32; inf if there is no other image.
    """
    center = torch.from_numpy(entries.mean(0))
    centered = torch.from_numpy(entries) - center
    norms = centered.square().sum(1)
    nearest = torch.full((len(entries),), torch.inf)
    image = torch.from_numpy(of_image)
    for number in range(len(rows) // per_image):
        patches = np.asarray(rows[number * per_image : (number + 1) * per_image], np.float32)
        other = torch.from_numpy(patches) - center
        squared = torch.addmm(other.square().sum(1), centered, other.T, alpha=-2.0).amin(1) + norms
        nearest = torch.where(image == number, nearest, torch.minimum(nearest, squared))
    return nearest.clamp(min=0.0).sqrt().numpy()


def supported(distances: npt.NDArray[np.float32], trim: float) -> npt.NDArray[np.bool_]:
    """Return which bank entries remain if those farthest from other images are removed.

    Args:
        distances: Return value of `isolation`, (M,).
        trim: Share of the entries to remove, 0 to 1; at least one entry remains.

    Returns:
        True for the remaining entries, (M,) bool.
    """
    most = max(1, round((1.0 - trim) * len(distances)))
    keep = np.zeros(len(distances), bool)
    keep[np.argsort(distances, kind="stable")[:most]] = True
    return keep
