"""Initialization of f: linear maps of the patch features, in closed form.

f is linear, so its product with a matrix is linear too, and the map becomes part of f. The paper does not specify
f's initial values, but the distances between the patches before the first step affect the result as much as the
training.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.deprecated_paths import warn_renamed
from reconpatch.neighbors.distances import nearest_rows

INITIALIZATIONS = ("raw", "standard", "white", "neighbors")

_MOMENTS = 1 << 16  # largest number of patches from which channel statistics are computed
_ANCHORS = 1 << 13  # largest number of patches whose nearest patch of another image is searched
_POOL = 1 << 15  # largest number of patches that are searched
_SHRINKAGE = 0.01  # share of the mean eigenvalue that is added to every eigenvalue of a covariance


def current_initialization(name: str) -> str:
    """Return the current name of an initialization. An old name is accepted for one release, with a warning.

    Args:
        name: Current or old name of an initialization; other names are returned unchanged.

    Returns:
        The current name.
    """
    if name == "neighbours":
        warn_renamed("The initialization 'neighbours' is now 'neighbors'.", stacklevel=3)
        return "neighbors"
    return name


def initial_map(features: np.ndarray, kind: str, *, per_image: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return the matrix A of an initialization: training starts with the distances between the A · p.

    * 'raw': A is the identity.
    * 'standard': A divides every channel by its standard deviation.
    * 'white': A is Σ^(-1/2), with Σ the covariance of the channels (ZCA whitening).
    * 'neighbors': A is S^(-1/2), with S the mean of d dᵀ over the differences d between a patch and its nearest patch
      of another image. Directions in which similar patches differ are scaled down. This is the attracting half of
      eq. 7 in closed form: among all A with the same determinant, it minimizes the mean squared distance of such
      pairs (within-class whitening, as in relevant component analysis).

    Σ and S are regularized: 1 % of the mean eigenvalue is added to each eigenvalue. A is scaled so that the total
    variance of the features does not change.

    Args:
        features: (n, C') float16 or float32 array of patch features, rows grouped by image. Only a sample is read.
        kind: One of `INITIALIZATIONS`.
        per_image: Number of rows per image, at least 1; it identifies the image of each row. If there is only one
            image, every second row is treated as a patch of another image.
        seed: Seed of the sample, 0 or more.

    Returns:
        (C', C') float32 matrix A.

    Raises:
        ValueError: The kind is unknown, or the number of rows is not a multiple of per_image.
    """
    kind = current_initialization(kind)
    if kind not in INITIALIZATIONS:
        raise ValueError(f"Unknown init '{kind}'. Use one of {', '.join(INITIALIZATIONS)}.")
    n, channels = features.shape
    if per_image < 1 or n % per_image:
        raise ValueError(f"Got {n} rows with per_image {per_image}; pass the same number of patches for every image.")
    if kind == "raw":
        return np.eye(channels, dtype=np.float32)
    random = np.random.default_rng(seed)
    sample = _rows(features, np.arange(n), _MOMENTS, random)
    covariance = torch.cov(sample.T, correction=0).reshape(channels, channels)
    if kind == "standard":
        deviations = covariance.diagonal().sqrt()
        matrix = torch.diag(1.0 / deviations.clamp(min=float(deviations.max()) * 1e-6 or 1.0))
    elif kind == "white":
        matrix = _inverse_root(covariance)
    else:
        matrix = _inverse_root(_neighbor_scatter(features, per_image, random))
    kept = torch.trace(matrix @ covariance @ matrix.T)
    matrix *= torch.sqrt(torch.trace(covariance) / kept) if kept > 0 else 1.0
    return matrix.float().numpy()


def _neighbor_scatter(features: np.ndarray, per_image: int, random: np.random.Generator) -> torch.Tensor:
    """Return the mean of d dᵀ over differences between sampled patches and their nearest patches of other images."""
    images = len(features) // per_image
    rows = np.arange(len(features))
    first = random.permutation(images)[: images // 2]  # anchors are taken from these images, the pool from the rest
    anchored = np.isin(rows // per_image, first) if images > 1 else rows % 2 == 0
    if anchored.all():  # with a single patch there is no neighbor
        return torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    anchors = _rows(features, rows[anchored], _ANCHORS, random).float()
    pool = _rows(features, rows[~anchored], _POOL, random).float()
    nearest, _ = nearest_rows(anchors, pool)
    difference = (anchors - pool[nearest[:, 0]]).double()
    scatter: torch.Tensor = difference.T @ difference
    return scatter / len(difference)


def _inverse_root(matrix: torch.Tensor) -> torch.Tensor:
    """Return the symmetric M^(-1/2) of a covariance M, shrunk towards a multiple of the identity."""
    shrunk = matrix + torch.eye(len(matrix), dtype=matrix.dtype) * (_SHRINKAGE * matrix.diagonal().mean())
    values, vectors = torch.linalg.eigh(shrunk)
    if not values[-1] > 0.0:  # all patches are equal, so there is no variance to normalize
        return torch.eye(len(matrix), dtype=matrix.dtype)
    roots = values.clamp(min=float(values[-1]) * 1e-12).rsqrt()
    root: torch.Tensor = vectors @ torch.diag(roots) @ vectors.T
    return root


def _rows(features: np.ndarray, rows: np.ndarray, most: int, random: np.random.Generator) -> torch.Tensor:
    """Return the given rows as float64, or a random sample of `most` of them."""
    chosen = rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))
    return torch.from_numpy(np.asarray(features[chosen])).double()
