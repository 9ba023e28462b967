"""Where f starts: linear maps of the patch features, in closed form.

f is linear, and so is whatever its input is multiplied by first. The paper says nothing of f's initial values; what
distances are like before the first step matters as much as what training makes of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.distances import nearest_rows

STARTS = ("raw", "standard", "white", "neighbours")

_MOMENTS = 1 << 16  # patches that channel statistics are taken from
_ANCHORS = 1 << 13  # patches whose nearest patch of another image is looked for
_POOL = 1 << 15  # patches among which it is looked for
_SHRINKAGE = 0.01


def start_map(features: np.ndarray, kind: str, *, per_image: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """A (C', C') matrix A; training begins at the distances of A · p.

    'raw': the identity. 'standard': every channel divided by its standard deviation. 'white': Σ^(-1/2), Σ the
    channels' covariance (PCA whitening, turned back). 'neighbours': S^(-1/2), S the mean of d dᵀ over differences d
    between a patch and its nearest patch of another image: the directions in which like patches differ count less.
    That is the attracting half of eq. 7 in closed form: of all A with the same volume it makes the mean squared
    distance of such pairs least (within-class whitening, as in relevant component analysis). Covariances are shrunk
    by 1 % of their mean eigenvalue. A is scaled so that the features' total variance stays what it was.

    Args:
        features: (n, C') float16 or float32, images under each other; only a sample is read.
        kind: one of `STARTS`.
        per_image: rows of an image, so that a patch's own image can be told from others. Of a single image, every
            other row counts as another's.
        seed: of the sample.

    Raises:
        ValueError: another kind, or rows that are not whole images.
    """
    if kind not in STARTS:
        raise ValueError(f"The start is '{kind}'; give one of {', '.join(STARTS)}.")
    n, channels = features.shape
    if per_image < 1 or n % per_image:
        raise ValueError(f"{n} rows are no whole images of {per_image} patches.")
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
        matrix = _inverse_root(_neighbour_scatter(features, per_image, random))
    kept = torch.trace(matrix @ covariance @ matrix.T)
    matrix *= torch.sqrt(torch.trace(covariance) / kept) if kept > 0 else 1.0
    return matrix.float().numpy()


def _neighbour_scatter(features: np.ndarray, per_image: int, random: np.random.Generator) -> torch.Tensor:
    """Mean of d dᵀ over differences between sampled patches and their nearest patches of other images."""
    images = len(features) // per_image
    place = np.arange(len(features))
    first = random.permutation(images)[: images // 2]  # anchors come from these images, and the pool from the others
    anchored = np.isin(place // per_image, first) if images > 1 else place % 2 == 0
    if anchored.all():  # a lone patch has no neighbour
        return torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    anchors = _rows(features, place[anchored], _ANCHORS, random).float()
    pool = _rows(features, place[~anchored], _POOL, random).float()
    nearest, _ = nearest_rows(anchors, pool)
    difference = (anchors - pool[nearest[:, 0]]).double()
    scatter: torch.Tensor = difference.T @ difference
    return scatter / len(difference)


def _inverse_root(matrix: torch.Tensor) -> torch.Tensor:
    """Symmetric M^(-1/2), M shrunk towards the identity."""
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
