"""Detection of collapse: training after which all patches are embedded alike.

The teacher follows the student, and the teacher labels the student's pairs: the two can converge to one point. All
values are then finite and the loss is small, so the spread of the embeddings is checked explicitly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconpatch.adapter.similarity import neighbor_scale, pairwise_similarity
from reconpatch.neighbors.distances import squared_distances

_ALIKE = 0.9  # mean pairwise weight above which a batch counts as one point
_CLOSER = 1e-2  # share of the first step's distance below which a batch counts as one point
_DIRECTIONS = 1.5  # effective rank below which a batch counts as a line


@dataclass(frozen=True)
class Spread:
    """Spread of the z̄ of a batch.

    Attributes:
        weight: mean of eq. 1 over pairs of different patches, in [0, 1].
        distance: mean squared distance of two patches, as a share of the mean squared length of z̄.
        rank: effective rank of the batch, exp of the entropy of its covariance's spectrum (Roy and Vetterli 2007).
    """

    weight: float
    distance: float
    rank: float


@torch.no_grad()
def spread(z_bar: torch.Tensor, sigma: float | None, k: int) -> Spread:
    """Return the spread of a batch.

    Args:
        z_bar: (N, D), N at least 2.
        sigma: width of eq. 1; None for the batch's own scale.
        k: neighbors of eqs. 2-5.
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
    """Compare a batch's spread with that of the first batch.

    A category whose patches are alike from the first step (a blank background) has not collapsed.

    Args:
        now: spread of this step's batch.
        start: spread of the first step's batch.
        step: number of this step, from 1.

    Raises:
        ValueError: the first batch was spread and this one is not; the message says by which measure.
    """
    signs = []
    if now.weight > _ALIKE > start.weight:
        signs.append(f"the mean pairwise similarity went from {start.weight:.3f} to {now.weight:.3f}")
    if now.distance < _CLOSER * start.distance:
        signs.append(f"the mean distance fell to {now.distance / start.distance:.2g} of its start")
    if now.rank < _DIRECTIONS < start.rank / 2:
        signs.append(f"the effective rank went from {start.rank:.1f} to {now.rank:.1f}")
    if signs:
        raise ValueError(
            f"Training has collapsed at step {step}: {'; '.join(signs)}. Try a lower lr, a larger margin, a smaller "
            f"sigma, or z̄ as it is instead of normalized."
        )
