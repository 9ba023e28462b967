"""Locally aware patch features p (PatchCore, Roth et al. 2022, section 3.1; ReConPatch section 3.1).

PatchCore unfolds every s x s neighborhood, pools the flattened vector, upsamples, concatenates and pools again.
Each of these steps is linear; pooling acts on channels and upsampling on positions. Both poolings are therefore one
weighted sum over s x s values of a few neighboring channels: a depthwise convolution. Neither the unfolded tensor,
s·s times as large, nor a copy of all layers side by side is ever stored.
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
CHANNELS = 1024  # C' of patchcore
_PIECE = 256  # outputs that are summed at a time


def feature_channels(level_channels: Sequence[int], aggregation: str) -> int:
    """Return C', the width of patch features: the sum of the layers' channels with 'concat', otherwise 1024.

    Args:
        level_channels: number of channels of each layer.
        aggregation: one of `AGGREGATIONS`.
    """
    return sum(level_channels) if aggregation == "concat" else CHANNELS


def patch_features(
    level_maps: Sequence[Array], patch_size: int = 3, aggregation: str = "patchcore", channels: int = CHANNELS
) -> Array:
    """Compute the patch features of a batch of images.

    `patchcore`: each layer's s x s neighborhoods (stride 1, zero padding (s - 1)/2), flattened channel-major, are
    averaged to `channels` values by adaptive pooling; coarser layers are upsampled bilinearly (align_corners=False)
    to the finest grid; the concatenated layers are averaged to `channels` values again.
    `concat`: the mean of each channel's s x s neighborhood (padding counted), upsampled likewise, concatenated.

    Args:
        level_maps: one (B, C, H, W) feature map per layer, in any order of sizes; NumPy arrays or tensors.
        patch_size: s, odd.
        aggregation: 'patchcore' or 'concat'.
        channels: C' of 'patchcore'; with 'concat', C' is the sum of the layers' channels.

    Returns:
        (B, H·W, C') float32 (float64 for float64 maps), row by row of the finest layer's H x W grid.

    Raises:
        ValueError: the patch size is even, the aggregation unknown, or there are no maps or maps of another rank.

    Example:
        >>> import numpy as np
        >>> from reconpatch import patch_features
        >>> layer2, layer3 = np.zeros((1, 40, 28, 28), np.float32), np.zeros((1, 112, 14, 14), np.float32)
        >>> patch_features([layer2, layer3], aggregation="concat").shape
        (1, 784, 152)
    """
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"The patch size is {patch_size}; give an odd number such as 3 or 5.")
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"The aggregation is '{aggregation}'; give one of {', '.join(AGGREGATIONS)}.")
    maps = [as_tensor(level) for level in level_maps]
    if not maps or any(level.ndim != 4 for level in maps):
        raise ValueError("Patch features need at least one level map of shape (B, C, H, W).")
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
        shared = done - outputs.start  # an output that averages the last of one level and the first of the next
        features[..., outputs.start : done] += values[..., :shared]
        features[..., done : outputs.stop] = values[..., shared:]
        done = outputs.stop
        del values  # or it would stay until the next level's are there
    features = features.flatten(1, 2)
    return like(features, level_maps[0])


def extract_features(
    backbone: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    images: npt.NDArray[np.float32],
    patch_size: int,
    aggregation: str,
) -> tuple[npt.NDArray[np.float16], tuple[int, int]]:
    """Compute the patch features of a batch, rounded to float16, which is part of their definition.

    Args:
        backbone: function from images to feature maps, such as `reconpatch.features.backbones.Backbone`.
        images: (B, 3, S, S) in [0, 1].
        patch_size: s, odd.
        aggregation: 'patchcore' or 'concat'.

    Returns:
        (B, H·W, C') float16, and the grid (H, W).
    """
    maps = backbone(torch.from_numpy(images))
    features = patch_features(maps, patch_size, aggregation).half().cpu().numpy()
    return features, finest_grid(maps)


def finest_grid(level_maps: Sequence[Array]) -> tuple[int, int]:
    """Return (H, W) of the layer with the most cells (the first of equals), the grid of the patches."""
    height, width = max((level.shape[2:] for level in level_maps), key=lambda size: size[0] * size[1])
    return int(height), int(width)


@dataclass(frozen=True)
class _Pooling:
    """The outputs among C' that depend on a layer, and how.

    Output `outputs[r]` is the sum over t of channel `channels[t, r]`'s neighborhood, weighted by `weights[t, r]`.

    Attributes:
        outputs: range of R outputs.
        channels: (T, R) int64.
        weights: (T, R, 1, s, s) float64.
    """

    outputs: range
    channels: torch.Tensor
    weights: torch.Tensor


@lru_cache(maxsize=32)
def _pooling(inputs: int, patch_size: int, channels: int, *, layer: int, layers: int) -> list[_Pooling]:
    """Return both adaptive poolings of a layer, from its flattened (C·s·s) vector to its share of the outputs.

    The first averages the elements ⌊e·n/J⌋ … ⌈(e + 1)·n/J⌉ - 1 of n = C·s·s to element e of J = `channels`. Of the
    concatenated elements of all L layers, the second averages j·L … (j + 1)·L - 1 to output j.
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
    members = members.clamp(max=inputs - 1)  # beyond the last channel the weights are 0
    kernels = weights.view(-1, width, patch_size, patch_size).transpose(0, 1).unsqueeze(2)
    piece = _PIECE if width > 1 else len(outputs)  # sums hold three pieces at once; a lone product is its own
    return [
        _Pooling(outputs[part], members[:, part].contiguous(), kernels[:, part].contiguous())
        for part in (slice(start, start + piece) for start in range(0, len(outputs), piece))
    ]


def _weighted(level: torch.Tensor, pooling: _Pooling) -> torch.Tensor:
    """Return the layer's (B, R, H, W) outputs, channels last: depthwise convolutions are fastest so on a CPU."""
    last = level.permute(0, 2, 3, 1)
    whole = pooling.channels.shape == (1, last.shape[3])  # then every output has a channel of its own
    total: torch.Tensor | None = None
    for members, weight in zip(pooling.channels.to(level.device), pooling.weights.to(level), strict=True):
        chosen = (last if whole else last[..., members]).contiguous().permute(0, 3, 1, 2)
        part = F.conv2d(chosen, weight, padding=weight.shape[-1] // 2, groups=len(members))
        total = part if total is None else total.add_(part)
    assert total is not None
    return total
