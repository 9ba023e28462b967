"""Patch features, compared with a direct implementation of PatchCore's steps: unfold, pool, upsample, pool."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from reconpatch.features.patches import AGGREGATIONS, feature_channels, patch_features


def level_maps(batch: int, sizes: list[tuple[int, int, int]], seed: int = 0) -> list[torch.Tensor]:
    """Return random feature maps of the given (C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, *size, generator=generator) for size in sizes]


def plain_patchcore(maps: list[torch.Tensor], patch_size: int, channels: int) -> torch.Tensor:
    """Return the patch features of section 3.1 of PatchCore, step by step, in float64."""
    height, width = max((level.shape[2:] for level in maps), key=lambda grid: grid[0] * grid[1])
    pooled = []
    for level in maps:
        level = level.double()
        batch, count, rows, cols = level.shape
        patches = F.unfold(level, patch_size, padding=patch_size // 2)  # (B, C·s·s, H·W), channel-major
        patches = patches.view(batch, count * patch_size**2, rows, cols)
        upsampled = F.interpolate(patches, size=(height, width), mode="bilinear", align_corners=False)
        vectors = upsampled.permute(0, 2, 3, 1).reshape(batch * height * width, 1, -1)
        pooled.append(F.adaptive_avg_pool1d(vectors, channels).view(batch, height * width, channels))
    stacked = torch.cat(pooled, dim=2)
    return F.adaptive_avg_pool1d(stacked, channels)


def plain_concat(maps: list[torch.Tensor], patch_size: int) -> np.ndarray:
    """Return the mean of every neighborhood, computed by loops; zeros outside of the border count."""
    half = patch_size // 2
    height, width = max((level.shape[2:] for level in maps), key=lambda grid: grid[0] * grid[1])
    columns = []
    for level in maps:
        batch, count, rows, cols = level.shape
        means = torch.zeros(batch, count, rows, cols, dtype=torch.float64)
        for row in range(rows):
            for col in range(cols):
                window = level[:, :, max(0, row - half) : row + half + 1, max(0, col - half) : col + half + 1]
                means[:, :, row, col] = window.double().sum((2, 3)) / patch_size**2
        columns.append(F.interpolate(means, size=(height, width), mode="bilinear", align_corners=False))
    return torch.cat(columns, 1).flatten(2).transpose(1, 2).numpy()


LAYERS = {
    "paper, 512 and 1024 channels": [(512, 6, 6), (1024, 3, 3)],
    "DenseNet, 1792 channels": [(512, 4, 4), (1792, 2, 2)],
    "small backbones, fewer channels than the target": [(40, 6, 6), (112, 3, 3)],
    "three layers, odd and oblong grids": [(24, 9, 7), (40, 5, 4), (112, 3, 2)],
    "one layer": [(30, 5, 5)],
    "layers of equal stride": [(48, 4, 4), (48, 4, 4)],
}


@pytest.mark.parametrize("patch_size", [1, 3, 5])
@pytest.mark.parametrize("sizes", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("channels", [1024, 384])
def test_patchcore_aggregation_equals_its_definition(
    sizes: list[tuple[int, int, int]], patch_size: int, channels: int
) -> None:
    maps = level_maps(2, sizes)
    features = patch_features(maps, patch_size, "patchcore", channels)
    expected = plain_patchcore(maps, patch_size, channels)
    assert features.shape == expected.shape
    torch.testing.assert_close(features.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("patch_size", [1, 3, 5])
def test_concat_aggregation_is_the_mean_of_each_channels_neighborhood(patch_size: int) -> None:
    maps = level_maps(2, [(5, 6, 8), (7, 3, 4)])
    features = patch_features(maps, patch_size, "concat")
    assert features.shape == (2, 48, 12)
    np.testing.assert_allclose(features.numpy(), plain_concat(maps, patch_size), rtol=0, atol=1e-6)


def test_the_finest_grid_is_used_for_any_order_of_layers() -> None:
    fine, coarse = level_maps(1, [(4, 6, 6), (4, 3, 3)])
    assert patch_features([coarse, fine], 3, "concat").shape == (1, 36, 8)


def test_patches_are_in_row_major_order() -> None:
    level = torch.zeros(1, 1, 3, 4)
    level[0, 0, 1, 2] = 1.0
    features = patch_features([level], 1, "concat")
    assert features[0, :, 0].argmax() == 1 * 4 + 2


def test_numpy_arrays_give_a_numpy_array() -> None:
    maps = [level.numpy() for level in level_maps(1, [(8, 4, 4)])]
    features = patch_features(maps, 3, "patchcore", 16)
    assert isinstance(features, np.ndarray)
    assert features.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, "patchcore"), "use an odd number"),
        ((3, "mean"), "use one of patchcore, concat"),
    ],
)
def test_invalid_options_raise(arguments: tuple[int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        patch_features(level_maps(1, [(4, 2, 2)]), *arguments)


def test_no_maps_or_maps_of_another_rank_raise() -> None:
    with pytest.raises(ValueError, match=r"have shapes \[\]; expected at least one map, each \(B, C, H, W\)"):
        patch_features([], 3)
    with pytest.raises(ValueError, match=r"have shapes \[\(4, 2, 2\)\]; expected at least one map"):
        patch_features([torch.zeros(4, 2, 2)], 3)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_feature_channels_equals_the_width_of_the_features(aggregation: str) -> None:
    maps = level_maps(1, [(24, 4, 4), (40, 2, 2)])
    assert patch_features(maps, 3, aggregation).shape[2] == feature_channels([24, 40], aggregation)
