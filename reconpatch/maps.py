"""Anomaly maps: patch scores, blurred, in the network's pixels and on the original pixel grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch.nn.functional import interpolate

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.geometry import Geometry


def anomaly_map(patch_scores: Array, size: int, sigma: float = 4.0) -> Array:
    """Patch scores → bilinear to the network's input (align_corners=False) → Gaussian blur.

    Both are linear and act on rows and columns apart, so a map is A · scores · Bᵀ with two small matrices: the
    values of interpolation followed by SciPy's `gaussian_filter` with its defaults (border "reflect", that is
    d c b a | a b c d | d c b a; cut at 4 sigma), ten times faster. A map does not depend on the batch it is in.

    Args:
        patch_scores: (H, W) or (B, H, W), finite; a NaN is a patch without a score, which its neighbours fill in.
        size: side of the network's input, in pixels.
        sigma: of the Gaussian, in pixels of the network's input; 0 for none.

    Returns:
        (size, size) or (B, size, size) float32.

    Raises:
        ValueError: another number of dimensions, an empty grid, size below 1 or a negative sigma.
    """
    scores = as_tensor(patch_scores)
    if scores.ndim not in (2, 3) or 0 in scores.shape[-2:]:
        raise ValueError(f"The patch scores are {tuple(scores.shape)}; give (H, W) or (B, H, W).")
    if size < 1 or not sigma >= 0.0:
        raise ValueError(f"size is {size} and sigma {sigma}; size must be at least 1 and sigma at least 0.")
    rows, cols = (_spread(side, size, float(sigma)).to(scores) for side in scores.shape[-2:])
    batch = scores.reshape(-1, *scores.shape[-2:])
    maps = torch.empty((len(batch), size, size), dtype=torch.float32, device=scores.device)
    for place, grid in zip(maps, batch, strict=True):  # one product for all would round by the batch's length
        known = ~grid.isnan()
        values = rows @ grid.nan_to_num(nan=0.0) @ cols.T
        if not known.all():
            share = rows @ known.to(grid) @ cols.T
            values = torch.where(share > 1e-6, values / share, torch.nan)
        place.copy_(values)
    return like(maps.reshape(*scores.shape[:-2], size, size), patch_scores)


def to_original(network_map: Array, geometry: Geometry) -> Array:
    """A map on the original pixel grid: sampled at the pixels' centres, bilinearly, its border continued outwards.

    Args:
        network_map: (S, S), S the geometry's crop.

    Returns:
        (height, width) float32, NaN where the crop did not look: at the pixels whose centres it cut off.

    Raises:
        ValueError: the map is of another size.
    """
    values = as_tensor(network_map).float()
    if values.shape != (geometry.crop, geometry.crop):
        raise ValueError(f"The map is {tuple(values.shape)}, but ({geometry.crop}, {geometry.crop}) is needed.")
    rows, cols = geometry.to_network(np.arange(geometry.height) + 0.5, np.arange(geometry.width) + 0.5)
    inside = geometry.looked_at()
    original = values.new_full((geometry.height, geometry.width), torch.nan)
    # Columns first: that pass has S rows only, and the second, large one copies whole rows.
    original[inside] = _sample(_sample(values.T, cols[inside[1]]).T.contiguous(), rows[inside[0]])
    return like(original, network_map)


def _sample(values: torch.Tensor, positions: np.ndarray) -> torch.Tensor:
    """Rows of `values` at continuous positions: (S, n) → (len(positions), n)."""
    places = torch.from_numpy(positions - 0.5).clamp(0.0, len(values) - 1.0)
    low = places.floor().long().to(values.device)
    high = (low + 1).clamp(max=len(values) - 1)
    share = (places - places.floor()).to(values)[:, None]
    return torch.lerp(values[low], values[high], share)


@lru_cache(maxsize=16)
def _spread(cells: int, size: int, sigma: float) -> torch.Tensor:
    """(size, cells) float64: what each cell of a row gives to each of `size` pixels, interpolated and blurred."""
    cell_rows = torch.eye(cells, dtype=torch.float64)[None]
    pixels = interpolate(cell_rows, size=size, mode="linear", align_corners=False)[0].T.numpy()
    if sigma > 0.0:
        pixels = gaussian_filter1d(pixels, sigma, axis=0, mode="reflect", truncate=4.0)
    return torch.from_numpy(pixels)
