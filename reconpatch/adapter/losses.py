"""The relaxed contrastive loss (section 3.2, eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import squared_distances

_SMALLEST_MEAN = 1e-12


def relaxed_contrastive_loss(z: Array, weights: Array, margin: float = 1.0) -> Array:
    """L = (1/N) Σ_i Σ_j [w_ij δ_ij² + (1 - w_ij) max(m - δ_ij, 0)²], δ_ij = ‖z_i - z_j‖ / mean_n ‖z_i - z_n‖ (eq. 7).

    The mean counts the zero distance of i to itself and the sum the diagonal. The gradient flows
    through the mean too, and is finite everywhere: pairs of equal rows have none.

    Args:
        z: (N, D) array or tensor, the student's embeddings g(f(p)).
        weights: (N, N) array or tensor, w in [0, 1].
        margin: m, in units of the mean distance.

    Returns:
        A scalar: a 0-d tensor for a tensor, a NumPy scalar for an array.

    Raises:
        ValueError: z is not a matrix with rows, or weights are not (N, N).

    Example:
        >>> import numpy as np
        >>> from reconpatch import relaxed_contrastive_loss
        >>> float(relaxed_contrastive_loss(np.array([[0.0], [1.0]]), np.ones((2, 2))))
        4.0
    """
    x = as_tensor(z)
    w = as_tensor(weights).to(x)
    if x.ndim == 2 and w.shape != (len(x), len(x)):
        raise ValueError(f"weights must be {(len(x), len(x))}, one for each pair; they are {tuple(w.shape)}.")
    loss = like(_RelaxedContrastive.apply(x, w, margin), z)
    return loss if isinstance(loss, torch.Tensor) else loss[()]


class _RelaxedContrastive(torch.autograd.Function):
    """Equation 7 and its gradient by matrix products; no array is N x N x D.

    A square root has no slope at 0: there the gradient is 0, as for torch.cdist.
    """

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, weights: torch.Tensor, margin: float) -> torch.Tensor:
        distances = squared_distances(z).sqrt_()
        means = distances.mean(1, keepdim=True)
        relative = distances / means.clamp(min=_SMALLEST_MEAN)
        short = (margin - relative).clamp_(min=0.0)
        ctx.save_for_backward(z, weights, distances, means, relative, short)
        # w δ² + (1 - w) short², summed: short² + w (δ² - short²)
        repel = short.square()
        return torch.addcmul(repel, weights, relative.square() - repel).sum() / len(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        z: torch.Tensor
        z, weights, distances, means, relative, short = ctx.saved_tensors
        n = len(z)
        # ∂L/∂δ = 2/N (w δ - (1 - w) short); δ has the distance in it, and the mean of its row.
        slope = torch.addcmul(-short, weights, relative + short).mul_(2.0 / n * grad)
        through_mean = (slope * relative).mean(1, keepdim=True).masked_fill_(means < _SMALLEST_MEAN, 0.0)
        slope = slope.sub_(through_mean).div_(means.clamp(min=_SMALLEST_MEAN))
        # Σ_j a_ij (z_i - z_j), a_ij = (G_ij + G_ji) / d_ij. The two products cancel for rows that are close
        # to each other: in float64 that does not matter.
        pull = (slope + slope.T).div_(distances).masked_fill_(distances == 0.0, 0.0).double()
        centered = z.double()
        centered = centered - centered.mean(0)
        towards = (pull.sum(1, keepdim=True) * centered).addmm_(pull, centered, alpha=-1.0)
        of_weights = (relative.square() - short.square()) * (grad / n) if ctx.needs_input_grad[1] else None
        return towards.to(z.dtype), of_weights, None
