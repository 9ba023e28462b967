"""The relaxed contrastive loss (section 3.2, eq. 7)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import squared_distances

_SMALLEST_MEAN = 1e-12


def relaxed_contrastive_loss(z: Array, weights: Array, margin: float = 1.0) -> Array:
    """Return the relaxed contrastive loss of a batch (eq. 7).

    L = (1/N) Σ_i Σ_j [w_ij δ_ij² + (1 - w_ij) max(m - δ_ij, 0)²] with δ_ij = ‖z_i - z_j‖ / mean_n ‖z_i - z_n‖.

    The mean includes the zero distance of row i to itself, and the sum includes the diagonal. The gradient includes
    the derivative of the mean. It is finite everywhere; a pair of equal rows contributes no gradient.

    Args:
        z: (N, D) array or tensor of the student's embeddings g(f(p)).
        weights: (N, N) array or tensor of similarities w in [0, 1], see `similarity`.
        margin: Margin m, 0 or more, in units of the mean distance. Dissimilar rows repel below it.

    Returns:
        The loss: a 0-d tensor if z is a tensor, a NumPy scalar if it is an array.

    Raises:
        ValueError: z is not a matrix with at least one row, or weights are not (N, N).

    Examples:
        Two pairs of equal rows. The loss is small if equal rows are similar (weight 1) and different rows are not:

        >>> import numpy as np
        >>> from reconpatch import relaxed_contrastive_loss
        >>> z = np.array([[0.0], [0.0], [1.0], [1.0]])
        >>> good = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
        >>> float(relaxed_contrastive_loss(z, good)), float(relaxed_contrastive_loss(z, 1 - good))
        (0.0, 10.0)
    """
    x = as_tensor(z)
    w = as_tensor(weights).to(x)
    if x.ndim == 2 and w.shape != (len(x), len(x)):
        raise ValueError(f"weights must have shape {(len(x), len(x))}, one per pair of rows; got {tuple(w.shape)}.")
    loss = like(_RelaxedContrastive.apply(x, w, margin), z)
    return loss if isinstance(loss, torch.Tensor) else loss[()]


class _RelaxedContrastive(torch.autograd.Function):
    """Equation 7 and its gradient, computed by matrix products without an (N, N, D) array.

    The square root is not differentiable at 0; the gradient is defined as 0 there, as in torch.cdist.
    """

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, weights: torch.Tensor, margin: float) -> torch.Tensor:
        distances = squared_distances(z).sqrt_()
        means = distances.mean(1, keepdim=True)
        relative = distances / means.clamp(min=_SMALLEST_MEAN)
        short = (margin - relative).clamp_(min=0.0)
        ctx.save_for_backward(z, weights, distances, means, relative, short)
        # w δ² + (1 - w) short² is computed as short² + w (δ² - short²).
        repel = short.square()
        return torch.addcmul(repel, weights, relative.square() - repel).sum() / len(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        z: torch.Tensor
        z, weights, distances, means, relative, short = ctx.saved_tensors
        n = len(z)
        # ∂L/∂δ = 2/N (w δ - (1 - w) short). δ depends on the distance and on the mean of its row.
        slope = torch.addcmul(-short, weights, relative + short).mul_(2.0 / n * grad)
        through_mean = (slope * relative).mean(1, keepdim=True).masked_fill_(means < _SMALLEST_MEAN, 0.0)
        slope = slope.sub_(through_mean).div_(means.clamp(min=_SMALLEST_MEAN))
        # The gradient is Σ_j a_ij (z_i - z_j) with a_ij = (G_ij + G_ji) / d_ij. Its two products cancel for rows that
        # are close to each other, so float32 would lose too many digits here.
        pull = (slope + slope.T).div_(distances).masked_fill_(distances == 0.0, 0.0).double()
        centered = z.double()
        centered = centered - centered.mean(0)
        towards = (pull.sum(1, keepdim=True) * centered).addmm_(pull, centered, alpha=-1.0)
        of_weights = (relative.square() - short.square()) * (grad / n) if ctx.needs_input_grad[1] else None
        return towards.to(z.dtype), of_weights, None
