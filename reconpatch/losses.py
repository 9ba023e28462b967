"""The relaxed contrastive loss (section 3.2, eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.distances import squared_distances

_SMALLEST_MEAN = 1e-12


def relaxed_contrastive_loss(z: Array, weights: Array, margin: float = 1.0) -> Array:
    """L = (1/N) Σ_i Σ_j [w_ij δ_ij² + (1 - w_ij) max(m - δ_ij, 0)²], δ_ij = ‖z_i - z_j‖ / mean_n ‖z_i - z_n‖ (eq. 7).

    As written: the mean counts the zero distance of i to itself and the sum the diagonal. The gradient flows
    through the mean too, and is finite everywhere: pairs of equal rows have none.

    Args:
        z: (N, D) array or tensor, the student's embeddings g(f(p)).
        weights: (N, N) array or tensor, w in [0, 1].
        margin: m, in units of the mean distance.

    Returns:
        A scalar: a 0-d tensor for a tensor, a NumPy scalar for an array.

    Raises:
        ValueError: z is not a matrix with rows, or weights are not (N, N).
    """
    x = as_tensor(z)
    distances: torch.Tensor = _PairDistances.apply(x)
    w = as_tensor(weights).to(x)
    if w.shape != distances.shape:
        raise ValueError(f"weights must be {tuple(distances.shape)}, one for each pair; they are {tuple(w.shape)}.")
    relative = distances / distances.mean(1, keepdim=True).clamp(min=_SMALLEST_MEAN)
    attract = w * relative.square()
    repel = (1.0 - w) * (margin - relative).clamp(min=0.0).square()
    loss = like((attract + repel).sum() / len(x), z)
    return loss if isinstance(loss, torch.Tensor) else loss[()]


class _PairDistances(torch.autograd.Function):
    """(N, D) → (N, N) Euclidean distances, with a gradient made of matrix products.

    A square root has no slope at 0: there the gradient is 0, as for torch.cdist. Nothing is ever N x N x D.
    """

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        distances = squared_distances(z).sqrt_()
        ctx.save_for_backward(z, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor
        distances: torch.Tensor
        z, distances = ctx.saved_tensors
        # Σ_j a_ij (z_i - z_j), a_ij = (G_ij + G_ji) / d_ij. The two products cancel for rows that are close
        # to each other: in float64 that does not matter.
        pull = torch.where(distances > 0.0, (grad + grad.T).double() / distances, 0.0)
        centred = z.double()
        centred = centred - centred.mean(0)
        return (pull.sum(1, keepdim=True) * centred - pull @ centred).to(z.dtype)
