"""Whether training still tells patches apart.

The teacher follows the student, and the student's pairs are judged by the teacher: the two can agree that everything
is alike. No value is then infinite and the loss is small, so it has to be looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reconpatch.distances import squared_distances
from reconpatch.similarity import neighbour_scale, pairwise_similarity

_ALIKE = 0.9  # mean pairwise weight of a batch in which all patches are one
_CLOSER = 1e-2  # of the distance at the start
_DIRECTIONS = 1.5  # effective rank of a line


@dataclass(frozen=True)
class Spread:
    """How far apart the z̄ of a batch are.

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
    """The spread of a batch.

    Args:
        z_bar: (N, D), N at least 2.
        sigma, k: as `reconpatch.similarity.similarity` takes them.
    """
    n = len(z_bar)
    weights = pairwise_similarity(z_bar, neighbour_scale(z_bar, k) if sigma is None else sigma)
    length = z_bar.double().square().sum(1).mean().clamp(min=torch.finfo(torch.float64).tiny)
    distance = squared_distances(z_bar).double().sum() / (n * (n - 1))
    centred = z_bar.double() - z_bar.double().mean(0)
    spectrum = torch.linalg.svdvals(centred).square()
    shares = spectrum / spectrum.sum().clamp(min=torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return Spread(
        weight=float((weights.sum() - weights.diagonal().sum()) / (n * (n - 1))),
        distance=float(distance / length),
        rank=float(entropy.exp()),
    )


def require_spread(now: Spread, start: Spread, step: int) -> None:
    """Compare a batch's spread with that of the first batch.

    A category whose patches are alike from the start (a blank background) has not collapsed.

    Args:
        now, start: of this step's batch and of the first step's.
        step: its number, from 1.

    Raises:
        ValueError: the batch was spread at the start and is not any more; the sentence says how it shows.
    """
    seen = []
    if now.weight > _ALIKE > start.weight:
        seen.append(f"the mean pairwise similarity went from {start.weight:.3f} to {now.weight:.3f}")
    if now.distance < _CLOSER * start.distance:
        seen.append(f"the mean distance fell to {now.distance / start.distance:.2g} of its start")
    if now.rank < _DIRECTIONS < start.rank / 2:
        seen.append(f"the effective rank went from {start.rank:.1f} to {now.rank:.1f}")
    if seen:
        raise ValueError(
            f"Training has collapsed at step {step}: {'; '.join(seen)}. Try a lower lr, a larger margin, a smaller "
            f"sigma, or z̄ as it is instead of normalised."
        )
