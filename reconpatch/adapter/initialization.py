"""Initial values of f: linear maps of the patch features, in closed form.

f is linear, and so is its product with a matrix. The paper does not specify f's initial values; the distances before
the first step matter as much as the training does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.deprecated_paths import warn_renamed
from reconpatch.neighbors.distances import nearest_rows

INITIALIZATIONS = ("raw", "standard", "white", "neighbors")

_MOMENTS = 1 << 16  # patches used for channel statistics
_ANCHORS = 1 << 13  # patches whose nearest patch of another image is searched
_POOL = 1 << 15  # patches that are searched
_SHRINKAGE = 0.01


def current_initialization(name: str) -> str:
    """Return the present name of an initialization; an old one is accepted for one release, with a warning."""
    if name == "neighbours":
        warn_renamed("The initialization 'neighbours' is now 'neighbors'.", stacklevel=3)
        return "neighbors"
    return name


def initial_map(features: np.ndarray, kind: str, *, per_image: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return a (C', C') matrix A; training begins at the distances of A · p.

    'raw': the identity. 'standard': every channel divided by its standard deviation. 'white': Σ^(-1/2), Σ the
    channels' covariance (PCA whitening, turned back). 'neighbors': S^(-1/2), S the mean of d dᵀ over differences d
    between a patch and its nearest patch of another image: the directions in which like patches differ count less.
    That is the attracting half of eq. 7 in closed form: of all A with the same volume it makes the mean squared
    distance of such pairs least (within-class whitening, as in relevant component analysis). Covariances are shrunk
    by 1 % of their mean eigenvalue. A is scaled so that the features' total variance stays what it was.

    Args:
        features: (n, C') float16 or float32, rows grouped by image; only a sample is read.
        kind: one of `INITIALIZATIONS`.
        per_image: rows per image, which tell a patch's own image from others. With a single image, every second row
            counts as another image's.
        seed: seed of the sample.

    Raises:
        ValueError: the kind is unknown, or the rows are not whole images.
    """
    kind = current_initialization(kind)
    if kind not in INITIALIZATIONS:
        raise ValueError(f"The init is '{kind}'; give one of {', '.join(INITIALIZATIONS)}.")
    n, channels = features.shape
    if per_image < 1 or n % per_image:
        raise ValueError(f"{n} rows are not a whole number of images of {per_image} patches.")
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
    first = random.permutation(images)[: images // 2]  # anchors come from these images, and the pool from the others
    anchored = np.isin(rows // per_image, first) if images > 1 else rows % 2 == 0
    if anchored.all():  # a lone patch has no neighbor
        return torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    anchors = _rows(features, rows[anchored], _ANCHORS, random).float()
    pool = _rows(features, rows[~anchored], _POOL, random).float()
    nearest, _ = nearest_rows(anchors, pool)
    difference = (anchors - pool[nearest[:, 0]]).double()
    scatter: torch.Tensor = difference.T @ difference
    return scatter / len(difference)


def _inverse_root(matrix: torch.Tensor) -> torch.Tensor:
    """Return the symmetric M^(-1/2), M shrunk towards the identity."""
    shrunk = matrix + torch.eye(len(matrix), dtype=matrix.dtype) * (_SHRINKAGE * matrix.diagonal().mean())
    values, vectors = torch.linalg.eigh(shrunk)
    if not values[-1] > 0.0:  # all patches are equal: there is no direction to even out
        return torch.eye(len(matrix), dtype=matrix.dtype)
    roots = values.clamp(min=float(values[-1]) * 1e-12).rsqrt()
    root: torch.Tensor = vectors @ torch.diag(roots) @ vectors.T
    return root


def _rows(features: np.ndarray, rows: np.ndarray, most: int, random: np.random.Generator) -> torch.Tensor:
    chosen = rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))
    return torch.from_numpy(np.asarray(features[chosen])).double()
