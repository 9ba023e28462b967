"""Similarities between patch features: the pseudo-labels of the contrastive loss (section 3.2, eqs. 1-6).

The functions do not normalize their input, and no gradient flows through them.
"""

from __future__ import annotations

import math

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import neighborhoods, squared_distances


@torch.no_grad()
def pairwise_similarity(z: Array, sigma: float = 1.0) -> Array:
    """Return the pairwise similarity w_pair = exp(-‖z_i - z_j‖² / sigma) of all pairs of rows (eq. 1).

    Args:
        z: (N, D) array or tensor of embeddings, N at least 1.
        sigma: Kernel width, 0 or more, in units of a squared distance. 0 selects the limit: 1 for equal rows, 0 for
            all other pairs.

    Returns:
        (N, N) similarities in [0, 1], symmetric, 1 on the diagonal: an array or tensor like z (half precision
        becomes float32).

    Raises:
        ValueError: z is not a matrix with at least one row, or sigma is negative.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import pairwise_similarity
        >>> pairwise_similarity(np.array([[0.0], [0.0], [1.0]])).round(2)
        array([[1.  , 1.  , 0.37],
               [1.  , 1.  , 0.37],
               [0.37, 0.37, 1.  ]])
    """
    if not sigma >= 0.0:
        raise ValueError(f"sigma must be 0 or more; got {sigma}.")
    squared = squared_distances(as_tensor(z))
    return like(_gaussian(squared, torch.as_tensor(sigma, dtype=squared.dtype, device=squared.device)), z)


@torch.no_grad()
def contextual_similarity(z: Array, k: int = 5) -> Array:
    """Return the contextual similarity w_ctx: the share of neighbors that two rows have in common (eqs. 2-5).

    The paper prints "k/3" under the sum of eq. 4 and k/2 in its denominator; k/2 is used in both places.

    Args:
        z: (N, D) array or tensor of embeddings, N at least 1.
        k: Number of neighbors, at least 4. Row i counts as its own first neighbor, and all rows as near as the k-th
            are included. With fewer than k rows, all rows are neighbors.

    Returns:
        (N, N) similarities in [0, 1], symmetric: an array or tensor like z (half precision becomes float32).

    Raises:
        ValueError: z is not a matrix with at least one row, or k is below 4.

    Examples:
        Two groups of four rows. Rows of one group have the same neighbors:

        >>> import numpy as np
        >>> from reconpatch import contextual_similarity
        >>> z = np.array([[0.0], [0.1], [0.2], [0.3], [5.0], [5.1], [5.2], [5.3]])
        >>> contextual_similarity(z, k=4)[0]
        array([1., 1., 1., 1., 0., 0., 0., 0.])
    """
    _check_neighbors(k)
    x = as_tensor(z)
    return like(_contextual(x, squared_distances(x), k), z)


@torch.no_grad()
def similarity(z: Array, sigma: float | None = None, k: int = 5, alpha: float = 0.5) -> Array:
    """Return the similarity w = alpha · w_pair + (1 - alpha) · w_ctx of all pairs of rows (eq. 6).

    Args:
        z: (N, D) array or tensor of embeddings, N at least 1.
        sigma: Kernel width of `pairwise_similarity`, 0 or more. None uses the batch's own scale,
            `neighbor_scale(z, k)`.
        k: Number of neighbors of `contextual_similarity`, at least 4.
        alpha: Weight of the pairwise similarity, in [0, 1].

    Returns:
        (N, N) similarities in [0, 1], symmetric: an array or tensor like z (half precision becomes float32).

    Raises:
        ValueError: z is not a matrix with at least one row, or an option is out of its range.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import similarity
        >>> z = np.array([[0.0], [0.1], [0.2], [0.3], [5.0], [5.1], [5.2], [5.3]])
        >>> similarity(z, sigma=0.1, k=4, alpha=0.5)[0].round(2)
        array([1.  , 0.95, 0.84, 0.7 , 0.  , 0.  , 0.  , 0.  ])
    """
    _check_neighbors(k)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1]; got {alpha}.")
    if sigma is not None and not sigma >= 0.0:
        raise ValueError(f"sigma must be 0 or more; got {sigma}.")
    x = as_tensor(z)
    squared = squared_distances(x)
    scale = _scale(squared, k) if sigma is None else torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return like(torch.lerp(_contextual(x, squared, k), _gaussian(squared, scale), alpha), z)


@torch.no_grad()
def neighbor_scale(z: Array, k: int = 5) -> float:
    """Return a batch's own kernel width: the mean squared distance of a row to its k-th neighbor.

    Args:
        z: (N, D) array or tensor of embeddings, N at least 1.
        k: Rank of the neighbor, at least 1; the row itself has rank 1. If k is above N, N is used.

    Returns:
        The mean over all rows, in units of a squared distance. It is 0 if every row is equal to k - 1 other rows.

    Raises:
        ValueError: z is not a matrix with at least one row, or k is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}.")
    return float(_scale(squared_distances(as_tensor(z)), k))


def _scale(squared: torch.Tensor, k: int) -> torch.Tensor:
    return squared.topk(min(k, len(squared)), dim=1, largest=False).values[:, -1].mean()


def _gaussian(squared: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    tiny = torch.finfo(squared.dtype).tiny
    # A width of 0 gives 0 / 0 for equal rows. The smallest normal number gives the limit instead.
    exponent = squared / -sigma.clamp(min=tiny)
    # Subnormal results make exp ten times slower and are negligible, so they are set to 0.
    lost = exponent < math.log(tiny)
    return exponent.masked_fill_(lost, 0.0).exp_().masked_fill_(lost, 0.0)


def _contextual(x: torch.Tensor, squared: torch.Tensor, k: int) -> torch.Tensor:
    """Return the contextual similarity (eq. 5). Each row has few neighbors, so the 0/1 matrices are sparse."""
    near, close = (neighborhoods(x, count, squared) for count in (k, k // 2))
    members = near.to(x.dtype)
    shared = torch.sparse.mm(members.to_sparse(), members.T.contiguous())
    shared.mul_(members).div_(members.sum(1, keepdim=True))  # eq. 2
    reciprocal = (close & close.T).to(x.dtype)  # eq. 3; row i is always included, so the mean below is never empty
    expanded: torch.Tensor = torch.sparse.mm(reciprocal.to_sparse(), shared) / reciprocal.sum(1, keepdim=True)  # eq. 4
    return (expanded + expanded.T) / 2.0  # eq. 5


def _check_neighbors(k: int) -> None:
    if k < 4:
        raise ValueError(
            f"k must be at least 4: eq. 4 uses the k // 2 nearest rows, including the row itself; got {k}."
        )
