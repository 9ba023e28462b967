"""Detection of collapse: a training after which all patches have almost the same embedding.

The teacher follows the student, and the student is trained on similarities that the teacher computes. Both can
therefore converge to a single point. The loss is then small and all values are finite, so nothing else reveals the
collapse; the spread of the embeddings is measured to detect it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconpatch.adapter.similarity import neighbor_scale, pairwise_similarity
from reconpatch.neighbors.distances import squared_distances

_ALIKE = 0.9  # a batch with a larger mean pairwise similarity counts as a single point
_CLOSER = 1e-2  # a batch whose mean distance is below this share of the first batch's counts as a single point
_DIRECTIONS = 1.5  # a batch with a smaller effective rank counts as a line


@dataclass(frozen=True)
class Spread:
    """Spread of the teacher's embeddings z̄ of one batch.

    Attributes:
        weight: mean pairwise similarity (eq. 1) over all pairs of different patches, in [0, 1].
        distance: mean squared distance between two patches, divided by the mean squared length of z̄; 0 or more.
        rank: effective rank of the batch, at least 1: the exponential of the entropy of the covariance's normalized
            eigenvalues (Roy and Vetterli 2007, The Effective Rank).
    """

    weight: float
    distance: float
    rank: float


@torch.no_grad()
def spread(z_bar: torch.Tensor, sigma: float | None, k: int) -> Spread:
    """Return the spread of a batch of embeddings.

    Args:
        z_bar: (N, D) float tensor of embeddings, N at least 2.
        sigma: Kernel width of eq. 1, above 0, in units of a squared distance. None uses `neighbor_scale(z_bar, k)`.
        k: Number of neighbors in eqs. 2-5, at least 1; used only where sigma is None.

    Returns:
        The spread, computed in float64 except for eq. 1.
    """
    n = len(z_bar)
    weights = pairwise_similarity(z_bar, neighbor_scale(z_bar, k) if sigma is None else sigma)
    length = z_bar.double().square().sum(1).mean().clamp(min=torch.finfo(torch.float64).tiny)
    distance = squared_distances(z_bar).double().sum() / (n * (n - 1))
    centered = z_bar.double() - z_bar.double().mean(0)
    spectrum = torch.linalg.svdvals(centered).square()
    shares = spectrum / spectrum.sum().clamp(min=torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return Spread(
        weight=float((weights.sum() - weights.diagonal().sum()) / (n * (n - 1))),
        distance=float(distance / length),
        rank=float(entropy.exp()),
    )


def require_spread(now: Spread, start: Spread, step: int) -> None:
    """Raise ValueError if the embeddings have collapsed since the first step.

    Patches that are almost equal from the first step on (a blank background) are not a collapse.

    Args:
        now: Spread of the current step's batch.
        start: Spread of the first step's batch.
        step: Number of the current step, counted from 1, for the message.

    Raises:
        ValueError: By at least one measure, `now` is a single point or a line and `start` is not. The message lists
            these measures.
    """
    signs = []
    if now.weight > _ALIKE > start.weight:
        signs.append(f"the mean pairwise similarity rose from {start.weight:.3f} to {now.weight:.3f}")
    if now.distance < _CLOSER * start.distance:
        signs.append(f"the mean distance fell to {now.distance / start.distance:.2g} of its initial value")
    if now.rank < _DIRECTIONS < start.rank / 2:
        signs.append(f"the effective rank fell from {start.rank:.1f} to {now.rank:.1f}")
    if signs:
        raise ValueError(
            f"Training collapsed at step {step}: {'; '.join(signs)}. Reduce lr or sigma, increase margin, or turn "
            f"normalize off."
        )
