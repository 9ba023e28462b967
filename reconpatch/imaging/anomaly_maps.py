"""Anomaly maps: upsampled and blurred patch scores, at the size of the backbone's input and at the image's size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch.nn.functional import interpolate

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.imaging.geometry import Geometry


def anomaly_map(patch_scores: Array, size: int, sigma: float = 4.0) -> Array:
    """Return the anomaly map of a grid of patch scores: bilinear upsampling, then a Gaussian blur.

    The result equals bilinear interpolation (align_corners=False) to the size of the backbone's input, followed by
    SciPy's `gaussian_filter` with its defaults: the border mode "reflect" (d c b a | a b c d | d c b a) and a cutoff at
    4 sigma. Both steps are linear and act on rows and columns separately. The map is therefore computed as
    A · scores · Bᵀ with two small matrices, which is ten times faster. It does not depend on the rest of the batch.

    Args:
        patch_scores: Patch scores, (H, W) or (B, H, W), finite or NaN. A NaN is filled in from the neighboring patches.
        size: Side of the backbone's input, in pixels, at least 1.
        sigma: Standard deviation of the Gaussian, in pixels of the backbone's input, at least 0; 0 disables the blur.

    Returns:
        (size, size) or (B, size, size) float32, of the kind of `patch_scores`.

    Raises:
        ValueError: The scores have another number of dimensions or no patches, size is below 1, or sigma is negative.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import anomaly_map
        >>> patch_scores = np.zeros((4, 4), np.float32)
        >>> patch_scores[1, 2] = 1.0  # one patch differs from the good images
        >>> heat = anomaly_map(patch_scores, size=32, sigma=2.0)
        >>> heat.shape
        (32, 32)
        >>> bool(heat[12, 20] > 0.5), bool(heat[28, 4] < 0.01)  # under the patch, and far from it
        (True, True)
    """
    scores = as_tensor(patch_scores)
    if scores.ndim not in (2, 3) or 0 in scores.shape[-2:]:
        raise ValueError(f"The patch scores have shape {tuple(scores.shape)}; expected (H, W) or (B, H, W), not empty.")
    if size < 1 or not sigma >= 0.0:
        raise ValueError(f"size is {size} and sigma is {sigma}; size must be at least 1, and sigma at least 0.")
    rows, cols = (_spread(side, size, float(sigma)).to(scores) for side in scores.shape[-2:])
    batch = scores.reshape(-1, *scores.shape[-2:])
    maps = torch.empty((len(batch), size, size), dtype=torch.float32, device=scores.device)
    for result, grid in zip(maps, batch, strict=True):  # rounding in one product of the batch depends on its length
        known = ~grid.isnan()
        values = rows @ grid.nan_to_num(nan=0.0) @ cols.T
        if not known.all():
            share = rows @ known.to(grid) @ cols.T
            values = torch.where(share > 1e-6, values / share, torch.nan)
        result.copy_(values)
    return like(maps.reshape(*scores.shape[:-2], size, size), patch_scores)


def to_original(network_map: Array, geometry: Geometry) -> Array:
    """Return an anomaly map at the size of the image, sampled bilinearly at the centers of the image's pixels.

    Between the outermost pixel centers of the map and its border, the outermost values are repeated.

    Args:
        network_map: Map at the size of the backbone's input, (S, S) with S the geometry's crop.
        geometry: Mapping between the image and the backbone's input.

    Returns:
        (height, width) float32, of the kind of `network_map`; NaN at pixels whose centers are outside of the crop.

    Raises:
        ValueError: The map is not (S, S).
    """
    values = as_tensor(network_map).float()
    if values.shape != (geometry.crop, geometry.crop):
        raise ValueError(f"The map has shape {tuple(values.shape)}; expected ({geometry.crop}, {geometry.crop}).")
    rows, cols = geometry.to_network(np.arange(geometry.height) + 0.5, np.arange(geometry.width) + 0.5)
    inside = geometry.looked_at()
    original = values.new_full((geometry.height, geometry.width), torch.nan)
    # Columns are sampled first: this pass has only S rows, and the larger second pass copies whole rows.
    original[inside] = _sample(_sample(values.T, cols[inside[1]]).T.contiguous(), rows[inside[0]])
    return like(original, network_map)


def _sample(values: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
    """Interpolate the rows of `values` at continuous positions: (S, n) → (len(positions), n)."""
    clamped = torch.from_numpy(positions - 0.5).clamp(0.0, len(values) - 1.0)
    low = clamped.floor().long().to(values.device)
    high = (low + 1).clamp(max=len(values) - 1)
    share = (clamped - clamped.floor()).to(values)[:, None]
    return torch.lerp(values[low], values[high], share)


@lru_cache(maxsize=16)
def _spread(cells: int, size: int, sigma: float) -> torch.Tensor:
    """Return the weight of each cell of a row in each of `size` pixels after the blur, (size, cells) float64."""
    cell_rows = torch.eye(cells, dtype=torch.float64)[None]
    pixels = interpolate(cell_rows, size=size, mode="linear", align_corners=False)[0].T.numpy()
    if sigma > 0.0:
        pixels = gaussian_filter1d(pixels, sigma, axis=0, mode="reflect", truncate=4.0)
    return torch.from_numpy(pixels)
