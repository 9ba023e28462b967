"""The others: anomalib as it is installed, and patchcore-inspection written anew from its paper and description.

patchcore-inspection (Roth et al. 2022, https://github.com/amazon-science/patchcore-inspection) is not on PyPI. What is
timed here does the same arithmetic in the same order, no more and no less; none of its code was taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

_PROJECTED = 128  # its dimension_to_project_features_to
_STARTS = 10  # its number_of_starting_points
_INSTALL = "anomalib is not installed here: pip install 'reconpatch-ray[bench]'."


def unfold_patch_features(maps: Sequence[torch.Tensor], patch_size: int, channels: int) -> torch.Tensor:
    """patchcore-inspection's patch maker: unfold every level, upsample its patches, pool, stack, pool again.

    Args:
        maps: one (B, C, H, W) a level, the finest first.

    Returns:
        (B, H·W, channels).
    """
    height, width = maps[0].shape[2:]
    pooled = []
    for level in maps:
        batch, count, rows, cols = level.shape
        patches = F.unfold(level, patch_size, padding=patch_size // 2)
        patches = patches.view(batch, count, patch_size, patch_size, rows, cols)
        if (rows, cols) != (height, width):
            flat = patches.reshape(-1, 1, rows, cols)
            flat = F.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False)
            patches = flat.view(batch, count, patch_size, patch_size, height, width)
        vectors = patches.permute(0, 4, 5, 1, 2, 3).reshape(batch * height * width, 1, -1)
        pooled.append(F.adaptive_avg_pool1d(vectors, channels).squeeze(1))
    stacked = torch.stack(pooled, dim=1).flatten(1).unsqueeze(1)
    return F.adaptive_avg_pool1d(stacked, channels).view(len(maps[0]), height * width, channels)


def approximate_greedy(features: torch.Tensor, k: int) -> list[int]:
    """patchcore-inspection's ApproximateGreedyCoresetSampler.

    A random linear map to 128 dimensions; the mean distance to ten random points as every point's first distance;
    then k times: take the farthest, take the distances of all points to it from batched products, put them beside the
    old ones and keep each row's smaller.
    """
    reduced = torch.nn.Linear(features.shape[1], _PROJECTED, bias=False)(features).detach()
    starts = torch.randperm(len(reduced))[:_STARTS]
    nearest = _by_products(reduced, reduced[starts]).mean(1, keepdim=True)
    picks = []
    for _ in range(k):
        pick = int(nearest.argmax())
        picks.append(pick)
        now = _by_products(reduced, reduced[pick : pick + 1])
        nearest = torch.cat([nearest, now], dim=1).min(1).values.view(-1, 1)
    return picks


def _by_products(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    own = torch.bmm(rows.unsqueeze(1), rows.unsqueeze(2)).view(-1, 1)
    theirs = torch.bmm(others.unsqueeze(1), others.unsqueeze(2)).view(1, -1)
    return (own + theirs - 2.0 * rows @ others.T).clamp(min=0.0).sqrt()


def anomalib_greedy(features: torch.Tensor, ratio: float) -> list[int]:
    """anomalib's KCenterGreedy, its sparse random projection included."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its own deprecated imports
            from anomalib.models.components.sampling import k_center_greedy
    except ModuleNotFoundError as error:
        raise SystemExit(_INSTALL) from error
    module: Any = k_center_greedy
    module.tqdm = lambda items, desc="": items  # its bar would be all there is to see
    picks: list[int] = module.KCenterGreedy(features, ratio).select_coreset_idxs()
    return picks
