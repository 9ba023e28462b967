"""Similarities of patch features: the pseudo-labels of the contrastive loss (section 3.2, eqs. 1-6).

The functions do not normalize z̄, which is the caller's choice, and have no gradient.
"""

from __future__ import annotations

import math

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import neighborhoods, squared_distances


@torch.no_grad()
def pairwise_similarity(z: Array, sigma: float = 1.0) -> Array:
    """Return w_pair = exp(-‖z_i - z_j‖² / sigma) (eq. 1).

    Args:
        z: (N, D) array or tensor.
        sigma: the kernel's width, in units of a squared distance. 0 means the limit: 1 for equal rows, 0 for others.

    Returns:
        (N, N) of z's kind, symmetric, in [0, 1], 1 on the diagonal.

    Raises:
        ValueError: z is not a matrix with rows, or sigma is negative.

    Example:
        >>> import numpy as np
        >>> from reconpatch import pairwise_similarity
        >>> pairwise_similarity(np.array([[0.0], [0.0], [1.0]])).round(2)
        array([[1.  , 1.  , 0.37],
               [1.  , 1.  , 0.37],
               [0.37, 0.37, 1.  ]])
    """
    if not sigma >= 0.0:
        raise ValueError(f"sigma must not be negative; it is {sigma}.")
    squared = squared_distances(as_tensor(z))
    return like(_gaussian(squared, torch.as_tensor(sigma, dtype=squared.dtype, device=squared.device)), z)


@torch.no_grad()
def contextual_similarity(z: Array, k: int = 5) -> Array:
    """Return w_ctx, the share of neighbors that two features have in common (eqs. 2-5).

    The "k/3" under the sum of eq. 4 is read as k/2, as it stands in the mean's denominator.

    Args:
        z: (N, D) array or tensor.
        k: neighbors, i itself and all ties counted; at least 4. Of fewer than k rows, all are neighbors.

    Returns:
        (N, N) of z's kind, symmetric, in [0, 1].

    Raises:
        ValueError: z is not a matrix with rows, or k is below 4.
    """
    _check_neighbors(k)
    x = as_tensor(z)
    return like(_contextual(x, squared_distances(x), k), z)


@torch.no_grad()
def similarity(z: Array, sigma: float | None = None, k: int = 5, alpha: float = 0.5) -> Array:
    """Return w = alpha · w_pair + (1 - alpha) · w_ctx (eq. 6).

    Args:
        z: (N, D) array or tensor.
        sigma: width of eq. 1; None takes the batch's own scale, `neighbor_scale(z, k)`.
        k: neighbors of eqs. 2-5, at least 4.
        alpha: share of the pairwise similarity, in [0, 1].

    Returns:
        (N, N) of z's kind, symmetric, in [0, 1].

    Raises:
        ValueError: z is not a matrix with rows, or an option is out of its range.
    """
    _check_neighbors(k)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1]; it is {alpha}.")
    if sigma is not None and not sigma >= 0.0:
        raise ValueError(f"sigma must not be negative; it is {sigma}.")
    x = as_tensor(z)
    squared = squared_distances(x)
    scale = _scale(squared, k) if sigma is None else torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return like(torch.lerp(_contextual(x, squared, k), _gaussian(squared, scale), alpha), z)


@torch.no_grad()
def neighbor_scale(z: Array, k: int = 5) -> float:
    """Return the batch's own sigma: the mean squared distance of a row to its k-th neighbor, itself the first.

    Args:
        z: (N, D) array or tensor.
        k: at least 1; min(k, N) is used.

    Returns:
        The mean over all rows; 0 where every row has k - 1 others equal to it.

    Raises:
        ValueError: z is not a matrix with rows, or k is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}.")
    return float(_scale(squared_distances(as_tensor(z)), k))


def _scale(squared: torch.Tensor, k: int) -> torch.Tensor:
    return squared.topk(min(k, len(squared)), dim=1, largest=False).values[:, -1].mean()


def _gaussian(squared: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    tiny = torch.finfo(squared.dtype).tiny
    # A width of 0 would make 0 / 0 of equal rows; the smallest normal number gives the limit instead.
    exponent = squared / -sigma.clamp(min=tiny)
    # Below the smallest normal number exp is ten times slower, and its result is nothing.
    lost = exponent < math.log(tiny)
    return exponent.masked_fill_(lost, 0.0).exp_().masked_fill_(lost, 0.0)


def _contextual(x: torch.Tensor, squared: torch.Tensor, k: int) -> torch.Tensor:
    """Return equation 5. Few rows are near a row, so products with the 0/1 matrices are sparse."""
    near, close = (neighborhoods(x, count, squared) for count in (k, k // 2))
    members = near.to(x.dtype)
    shared = torch.sparse.mm(members.to_sparse(), members.T.contiguous())
    shared.mul_(members).div_(members.sum(1, keepdim=True))  # eq. 2
    reciprocal = (close & close.T).to(x.dtype)  # eq. 3; i is always in it, so no mean below is empty
    expanded: torch.Tensor = torch.sparse.mm(reciprocal.to_sparse(), shared) / reciprocal.sum(1, keepdim=True)  # eq. 4
    return (expanded + expanded.T) / 2.0  # eq. 5


def _check_neighbors(k: int) -> None:
    if k < 4:
        raise ValueError(f"k must be at least 4, for eq. 4 looks at the k // 2 nearest and i itself is one; it is {k}.")
