"""Reference implementations: anomalib as installed, and patchcore-inspection, reimplemented from its paper.

patchcore-inspection (Roth et al. 2022, https://github.com/amazon-science/patchcore-inspection) is not on PyPI. The
functions here perform its computations in the same order; they contain none of its code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from pipelines.errors import UsageError

_PROJECTED = 128  # dimension_to_project_features_to of patchcore-inspection
_STARTS = 10  # number_of_starting_points of patchcore-inspection
_INSTALL = "anomalib is not installed. Install it: pip install 'reconpatch-ray[bench]'."


def unfold_patch_features(maps: Sequence[torch.Tensor], patch_size: int, channels: int) -> torch.Tensor:
    """Return patch features as patchcore-inspection computes them: unfold, upsample, pool, stack, pool again.

    Args:
        maps: Feature map of each layer, (B, C, H, W), the finest first.
        patch_size: s, the side of a patch in cells of a feature map; odd.
        channels: Number of channels of each returned patch feature.

    Returns:
        Patch features, (B, H·W, channels), with H and W of the first map.
    """
    height, width = maps[0].shape[2:]
    pooled = []
    for layer in maps:
        batch, count, rows, cols = layer.shape
        patches = F.unfold(layer, patch_size, padding=patch_size // 2)
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
    """Return the indices that patchcore-inspection's ApproximateGreedyCoresetSampler selects.

    It projects the features to 128 random dimensions and initializes the distance of each point with its mean distance
    to ten random points. Then it repeats k times: select the farthest point, compute the distances of all points to it
    by batched products, and keep the smaller of the old and the new distance of each point.

    Args:
        features: Patch features, (n, D) float32.
        k: Number of points to select.

    Returns:
        k row indices, in the order of selection.
    """
    reduced = torch.nn.Linear(features.shape[1], _PROJECTED, bias=False)(features).detach()
    starts = torch.randperm(len(reduced))[:_STARTS]
    nearest = _distances_by_products(reduced, reduced[starts]).mean(1, keepdim=True)
    picks = []
    for _ in range(k):
        pick = int(nearest.argmax())
        picks.append(pick)
        distances = _distances_by_products(reduced, reduced[pick : pick + 1])
        nearest = torch.cat([nearest, distances], dim=1).min(1).values.view(-1, 1)
    return picks


def _distances_by_products(points: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    point_squares = torch.bmm(points.unsqueeze(1), points.unsqueeze(2)).view(-1, 1)
    center_squares = torch.bmm(centers.unsqueeze(1), centers.unsqueeze(2)).view(1, -1)
    return (point_squares + center_squares - 2.0 * points @ centers.T).clamp(min=0.0).sqrt()


def anomalib_greedy(features: torch.Tensor, ratio: float) -> list[int]:
    """Return the indices that anomalib's KCenterGreedy selects, including its sparse random projection.

    Args:
        features: Patch features, (n, D) float32.
        ratio: Share of the points to select, 0 to 1.

    Returns:
        Row indices, in the order of selection.

    Raises:
        UsageError: anomalib is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # anomalib imports deprecated names
            from anomalib.models.components.sampling import k_center_greedy
    except ModuleNotFoundError as error:
        raise UsageError(_INSTALL) from error
    module: Any = k_center_greedy
    module.tqdm = lambda items, desc="": items  # hides the progress bar
    picks: list[int] = module.KCenterGreedy(features, ratio).select_coreset_idxs()
    return picks
