"""Locally aware patch features p (PatchCore, Roth et al. 2022, section 3.1; ReConPatch section 3.1).

PatchCore unfolds every s x s neighborhood of a feature map, pools the flattened vector, upsamples, concatenates the
layers and pools again. All of these steps are linear; pooling acts on channels, and upsampling acts on positions. Both
poolings together are therefore a weighted sum over the s x s values of a few adjacent channels, which is a depthwise
convolution. This avoids the unfolded tensor, which is s·s times as large, and a concatenated copy of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from reconpatch.arrays import Array, as_tensor, like

AGGREGATIONS = ("patchcore", "concat")
CHANNELS = 1024  # C', the width of patch features with 'patchcore'
_PIECE = 256  # output channels that are computed at a time


def feature_channels(level_channels: Sequence[int], aggregation: str) -> int:
    """Return C', the number of channels of patch features.

    Args:
        level_channels: Number of channels of each layer.
        aggregation: 'patchcore' or 'concat'.

    Returns:
        The sum of `level_channels` for 'concat', 1024 for 'patchcore'.
    """
    return sum(level_channels) if aggregation == "concat" else CHANNELS


def patch_features(
    level_maps: Sequence[Array], patch_size: int = 3, aggregation: str = "patchcore", channels: int = CHANNELS
) -> Array:
    """Compute the patch features of a batch of images from the feature maps of a backbone.

    'patchcore': adaptive pooling averages the s x s neighborhood of each position (stride 1, zero padding (s - 1)/2,
    flattened channel-major) to `channels` values per layer. Coarser layers are upsampled bilinearly
    (align_corners=False) to the finest grid. The concatenated layers are averaged to `channels` values again.
    'concat': each channel is averaged over the s x s neighborhood (zero padding counts). Coarser layers are upsampled
    in the same way, and the layers are concatenated.

    Args:
        level_maps: One (B, C, H, W) feature map per layer, in any order of sizes; NumPy arrays or tensors.
        patch_size: s, the side of the neighborhoods, in positions of each feature map; odd.
        aggregation: 'patchcore' or 'concat'.
        channels: C', the number of channels with 'patchcore'. With 'concat', C' is the sum of the layers' channels.

    Returns:
        (B, H·W, C') float32, or float64 for float64 maps, of the kind of `level_maps`. The H·W patches are in
        row-major order of the finest grid (H, W).

    Raises:
        ValueError: The patch size is even or below 1, the aggregation is unknown, or `level_maps` is empty or contains
            a map of another number of dimensions.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import patch_features
        >>> layer2 = np.full((1, 2, 4, 4), 3.0, np.float32)  # 2 channels on a grid of 4 x 4 positions
        >>> layer3 = np.full((1, 3, 2, 2), 7.0, np.float32)  # 3 channels on a grid of 2 x 2 positions
        >>> features = patch_features([layer2, layer3], patch_size=1, aggregation="concat")
        >>> features.shape
        (1, 16, 5)
        >>> features[0, 0]  # the first patch
        array([3., 3., 7., 7., 7.], dtype=float32)
        >>> patch_features([layer2, layer3]).shape  # PatchCore's aggregation to 1024 channels
        (1, 16, 1024)
    """
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"The patch size is {patch_size}; use an odd number such as 3 or 5.")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"The aggregation is '{aggregation}'; use one of {', '.join(AGGREGATIONS)}.")
    maps = [as_tensor(level) for level in level_maps]
    if not maps or any(level.ndim != 4 for level in maps):
        shapes = [tuple(level.shape) for level in maps]
        raise ValueError(f"The feature maps have shapes {shapes}; expected at least one map, each (B, C, H, W).")
    grid = finest_grid(maps)
    steps: list[tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor], range]]
    if aggregation == "patchcore":
        steps = [
            (level, partial(_weighted, pooling=part), part.outputs)
            for number, level in enumerate(maps)
            for part in _pooling(level.shape[1], patch_size, channels, layer=number, layers=len(maps))
        ]
    else:
        mean = partial(F.avg_pool2d, kernel_size=patch_size, stride=1, padding=patch_size // 2)
        ends = np.cumsum([level.shape[1] for level in maps]).tolist()
        steps = [(level, mean, range(end - level.shape[1], end)) for level, end in zip(maps, ends, strict=True)]
    features = maps[0].new_empty((maps[0].shape[0], *grid, steps[-1][2].stop))
    done = 0
    for level, pool, outputs in steps:
        values = pool(level)
        if tuple(values.shape[2:]) != grid:
            values = F.interpolate(values, size=grid, mode="bilinear", align_corners=False)
        values = values.permute(0, 2, 3, 1)
        shared = done - outputs.start  # outputs that average over two layers; the previous layer wrote its part
        features[..., outputs.start : done] += values[..., :shared]
        features[..., done : outputs.stop] = values[..., shared:]
        done = outputs.stop
        del values  # frees the memory before the next layer is computed
    features = features.flatten(1, 2)
    return like(features, level_maps[0])


def extract_features(
    backbone: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    images: npt.NDArray[np.float32],
    patch_size: int,
    aggregation: str,
) -> tuple[npt.NDArray[np.float16], tuple[int, int]]:
    """Compute the patch features of a batch of images, rounded to float16.

    The rounding is part of the definition of the features: they are stored as float16.

    Args:
        backbone: Function from images to one feature map per layer, such as a `Backbone`.
        images: (B, 3, S, S) float32 in [0, 1].
        patch_size: s, the side of the neighborhoods, in positions of each feature map; odd.
        aggregation: 'patchcore' or 'concat'.

    Returns:
        The features, (B, H·W, C') float16, and the grid (H, W) of the patches.
    """
    maps = backbone(torch.from_numpy(images))
    features = patch_features(maps, patch_size, aggregation).half().cpu().numpy()
    return features, finest_grid(maps)


def finest_grid(level_maps: Sequence[Array]) -> tuple[int, int]:
    """Return the grid of the patches: the height and width of the feature map with the most positions.

    Args:
        level_maps: One (B, C, H, W) feature map per layer. Of maps with equally many positions, the first counts.
    """
    height, width = max((level.shape[2:] for level in level_maps), key=lambda size: size[0] * size[1])
    return int(height), int(width)


@dataclass(frozen=True)
class _Pooling:
    """The weights with which a layer contributes to a range of output channels.

    Output `outputs[r]` is the sum over t of the neighborhood in channel `channels[t, r]`, weighted by `weights[t, r]`.

    Attributes:
        outputs: Range of R of the C' output channels.
        channels: Input channels, (T, R) int64.
        weights: Convolution kernels, (T, R, 1, s, s) float64.
    """

    outputs: range
    channels: torch.Tensor
    weights: torch.Tensor


@lru_cache(maxsize=32)
def _pooling(inputs: int, patch_size: int, channels: int, *, layer: int, layers: int) -> list[_Pooling]:
    """Return both adaptive poolings of a layer combined: from its flattened C·s·s values to the output channels.

    The first pooling averages the elements ⌊e·n/J⌋ … ⌈(e + 1)·n/J⌉ - 1 of n = C·s·s to element e of J = `channels`. The
    second averages the elements j·L … (j + 1)·L - 1 of the concatenated elements of all L layers to output j.
    """
    area = patch_size**2
    n = inputs * area
    outputs = range(layer * channels // layers, -((layer + 1) * channels // -layers))
    spans = []
    for output in outputs:
        first = output * layers - layer * channels
        elements = range(max(first, 0), min(first + layers, channels))
        spans.append([(e * n // channels, -((e + 1) * n // -channels)) for e in elements])
    starts = [span[0][0] // area for span in spans]
    width = max(-(span[-1][1] // -area) - start for span, start in zip(spans, starts, strict=True))
    weights = torch.zeros(len(outputs), width * area, dtype=torch.float64)
    for row, (span, start) in enumerate(zip(spans, starts, strict=True)):
        for begin, end in span:
            weights[row, begin - start * area : end - start * area] += 1.0 / ((end - begin) * layers)
    members = torch.tensor(starts) + torch.arange(width)[:, None]
    members = members.clamp(max=inputs - 1)  # the weights of channels beyond the last one are 0
    kernels = weights.view(-1, width, patch_size, patch_size).transpose(0, 1).unsqueeze(2)
    piece = _PIECE if width > 1 else len(outputs)  # sums need memory for 3 pieces
    return [
        _Pooling(outputs[part], members[:, part].contiguous(), kernels[:, part].contiguous())
        for part in (slice(start, start + piece) for start in range(0, len(outputs), piece))
    ]


def _weighted(level: torch.Tensor, pooling: _Pooling) -> torch.Tensor:
    """Return the outputs of a layer, (B, R, H, W) in channels-last memory: the fastest format on a CPU."""
    last = level.permute(0, 2, 3, 1)
    whole = pooling.channels.shape == (1, last.shape[3])  # then output r uses only channel r
    total: torch.Tensor | None = None
    for members, weight in zip(pooling.channels.to(level.device), pooling.weights.to(level), strict=True):
        chosen = (last if whole else last[..., members]).contiguous().permute(0, 3, 1, 2)
        part = F.conv2d(chosen, weight, padding=weight.shape[-1] // 2, groups=len(members))
        total = part if total is None else total.add_(part)
    assert total is not None
    return total
