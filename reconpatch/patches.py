"""Locally aware patch features p (PatchCore, Roth et al. 2022, section 3.1; ReConPatch section 3.1).

PatchCore unfolds every s x s neighbourhood, pools the flattened vector, upsamples, concatenates and pools again.
Every one of these steps is linear, and pooling works channel by channel while upsampling works place by place: the
first two are one grouped convolution, which never holds the s·s-fold unfolded tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from reconpatch.arrays import Array, as_tensor, like

AGGREGATIONS = ("patchcore", "concat")
CHANNELS = 1024  # C' of patchcore


def patch_features(
    level_maps: Sequence[Array], patch_size: int = 3, aggregation: str = "patchcore", channels: int = CHANNELS
) -> Array:
    """Patch features of a batch of images.

    `patchcore`: each level's s x s neighbourhoods (stride 1, zero padding (s - 1)/2), flattened channel-major, are
    averaged to `channels` values by adaptive pooling; coarser levels are upsampled bilinearly (align_corners=False)
    to the finest grid; the levels, one after another, are averaged to `channels` values again.
    `concat`: the mean of each channel's s x s neighbourhood (padding counted), upsampled likewise, concatenated.

    Args:
        level_maps: one (B, C, H, W) map a level, any order of sizes; NumPy arrays or tensors.
        patch_size: s, odd.
        aggregation: 'patchcore' or 'concat'.
        channels: C' of 'patchcore'; 'concat' has the sum of the levels' channels.

    Returns:
        (B, H·W, C') float32 (float64 for float64 maps), H x W the finest level's grid, row by row.

    Raises:
        ValueError: an even patch size, an unknown aggregation, no maps or maps of another rank.
    """
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"The patch size is {patch_size}; give an odd number such as 3 or 5.")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"The aggregation is '{aggregation}'; give one of {', '.join(AGGREGATIONS)}.")
    maps = [as_tensor(level) for level in level_maps]
    if not maps or any(level.ndim != 4 for level in maps):
        raise ValueError("Patch features need at least one level map of shape (B, C, H, W).")
    grid = max((tuple(level.shape[2:]) for level in maps), key=lambda size: size[0] * size[1])
    pooled = [
        _neighbourhood_means(level, patch_size, channels if aggregation == "patchcore" else None) for level in maps
    ]
    aligned = [
        level
        if tuple(level.shape[2:]) == grid
        else F.interpolate(level, size=grid, mode="bilinear", align_corners=False)
        for level in pooled
    ]
    features = torch.cat(aligned, dim=1).flatten(2).transpose(1, 2)
    if aggregation == "patchcore":
        features = F.adaptive_avg_pool1d(features.contiguous(), channels)
    return like(features.contiguous(), level_maps[0])


def extract_features(
    backbone: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    images: npt.NDArray[np.float32],
    patch_size: int,
    aggregation: str,
) -> tuple[npt.NDArray[np.float16], tuple[int, int]]:
    """A batch's patch features as everything after them sees them: rounded to float16, part of their definition.

    Args:
        backbone: images to level maps, such as `reconpatch.backbones.Backbone`.
        images: (B, 3, S, S) in [0, 1].
        patch_size, aggregation: as `patch_features`.

    Returns:
        (B, H·W, C') float16, and the grid (H, W).
    """
    maps = backbone(torch.from_numpy(images))
    features = patch_features(maps, patch_size, aggregation).half().cpu().numpy()
    height, width = max((level.shape[2:] for level in maps), key=lambda grid: grid[0] * grid[1])
    return features, (int(height), int(width))


def _neighbourhood_means(level: torch.Tensor, patch_size: int, channels: int | None) -> torch.Tensor:
    if channels is None:
        return F.avg_pool2d(level, patch_size, stride=1, padding=patch_size // 2)
    weight, groups = _pooling_weight(level.shape[1], patch_size, channels)
    weight = weight.to(device=level.device, dtype=level.dtype)
    return F.conv2d(level, weight, padding=patch_size // 2, groups=groups)


@lru_cache(maxsize=32)
def _pooling_weight(inputs: int, patch_size: int, channels: int) -> tuple[torch.Tensor, int]:
    """Adaptive average pooling of the flattened (C·s·s) vector to `channels`, as a grouped convolution.

    Output j averages the elements ⌊j·n/J⌋ … ⌈(j + 1)·n/J⌉ - 1 of n = C·s·s. With G = gcd(C, J) the borders of G equal
    parts of the outputs fall on borders of channels, and so the outputs of a part see the channels of that part only.
    """
    groups = gcd(inputs, channels)
    per_group, outputs = inputs // groups, channels // groups
    length = per_group * patch_size**2
    weight = torch.zeros(outputs, length, dtype=torch.float64)
    for output in range(outputs):
        start = output * length // outputs
        end = -((output + 1) * length // -outputs)
        weight[output, start:end] = 1.0 / (end - start)
    weight = weight.view(outputs, per_group, patch_size, patch_size)
    return weight.repeat(groups, 1, 1, 1), groups
