"""Fusion of the members of an ensemble (section 3.3 of the paper, eq. 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (the conventional name)

from reconpatch.arrays import Array, as_tensor, like

BETA = 1.4826  # converts the MAD of a normal distribution to its standard deviation
_BETA_OF_MEAN = 1.2533  # √(π/2); converts the mean absolute deviation of a normal distribution to the same
_NARROW = 1e-3  # a MAD below this share of the 99th percentile is not a usable measure of the spread


@dataclass(frozen=True)
class ScoreStatistics:
    """Statistics of a member's scores for eq. 11: s̄ = (s - median) / (beta · mad).

    Attributes:
        median: Median s̃ of the scores.
        mad: Median absolute deviation from the median, above 0; with `fallback`, the mean absolute deviation.
        beta: 1.4826; with `fallback`, 1.2533.
        fallback: Whether the median absolute deviation was too small and the mean absolute deviation replaces it.
    """

    median: float
    mad: float
    beta: float
    fallback: bool


def score_statistics(scores: Array) -> ScoreStatistics:
    """Return the median and the MAD of a category's scores, for eq. 11.

    If more than half of the patches have almost the same score (a black background), the MAD is close to 0 although
    the scores vary. A MAD below 1e-3 of the 99th percentile of the scores is therefore replaced by the mean absolute
    deviation.

    Args:
        scores: Array or tensor of scores, any shape. NaN marks a patch without a score and is ignored.

    Returns:
        The statistics, computed in float64.

    Raises:
        ValueError: There is no score, a score is infinite, or all scores are equal.
    """
    values = as_tensor(scores).detach().cpu().numpy().astype(np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        raise ValueError("There are no scores to compute the median from. Fit the model on more than one patch.")
    if not np.isfinite(values).all():
        raise ValueError("At least one score is infinite. Check the patch features for very large values.")
    median = float(np.median(values))
    deviations = np.abs(values - median)
    mad = float(np.median(deviations))
    if mad > 0.0 and mad >= _NARROW * float(np.percentile(values, 99)):
        return ScoreStatistics(median, mad, BETA, fallback=False)
    mad = float(deviations.mean())
    if mad == 0.0:
        raise ValueError(
            f"All {len(values)} scores are {median}; without spread they cannot be normalized. Use more varied images."
        )
    return ScoreStatistics(median, mad, _BETA_OF_MEAN, fallback=True)


def modified_z_score(scores: Array, median: float, mad: float, beta: float = BETA) -> Array:
    """Return the modified z-scores (s - s̃) / (β · MAD) of scores s (eq. 11).

    Args:
        scores: Array or tensor of scores, any shape; NaN stays NaN.
        median: Median s̃ of the reference scores, see `score_statistics`.
        mad: MAD of the reference scores, above 0.
        beta: Constant β, above 0. The default makes β · MAD of a normal distribution its standard deviation.

    Returns:
        Array or tensor like the scores, with their shape and dtype (half precision becomes float32).

    Raises:
        ValueError: β · MAD is not positive and finite.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import modified_z_score
        >>> modified_z_score(np.array([2.0, 5.0]), median=2.0, mad=1.0, beta=1.5)
        array([0., 2.])
    """
    if not 0.0 < beta * mad < float("inf"):
        raise ValueError(f"beta · mad must be positive and finite; got {beta * mad}.")
    return like((as_tensor(scores) - float(median)) / (float(beta) * float(mad)), scores)


def fuse_maps(maps: Sequence[Array]) -> Array:
    """Return the mean of the members' maps on the finest of their grids (eq. 11).

    Args:
        maps: One (B, H, W) array or tensor of modified z-scores per member. H and W may differ between members.

    Returns:
        (B, H, W) mean on the grid with the most cells (the first of several): an array or tensor like the first map,
        float64 if any map is float64, otherwise float32. Other maps are resized to this grid bilinearly
        (align_corners=False).

    Raises:
        ValueError: There are no maps, a map is not (B, H, W) with H and W above 0, or the maps differ in B.

    Examples:
        A map on a 4 x 4 grid and one on a 2 x 2 grid:

        >>> import numpy as np
        >>> from reconpatch import fuse_maps
        >>> fuse_maps([np.ones((1, 4, 4), np.float32), np.zeros((1, 2, 2), np.float32)])[0, 0]
        array([0.5, 0.5, 0.5, 0.5], dtype=float32)
    """
    tensors = [as_tensor(member) for member in maps]
    if not tensors or any(member.ndim != 3 or 0 in member.shape[1:] for member in tensors):
        shapes = [tuple(member.shape) for member in tensors]
        raise ValueError(f"Fusion needs at least one map, and maps of shape (B, H, W) with H, W > 0; got {shapes}.")
    if any(member.shape[0] != tensors[0].shape[0] for member in tensors):
        numbers = sorted({len(member) for member in tensors})
        raise ValueError(f"All maps must have the same number of images; got maps of {numbers} images.")
    finest = max(tensors, key=lambda member: member.shape[1] * member.shape[2])
    dtype = torch.float64 if any(member.dtype == torch.float64 for member in tensors) else torch.float32
    total = torch.zeros(finest.shape, dtype=dtype, device=finest.device)
    for member in tensors:
        member = member.to(total)
        if member.shape != finest.shape:
            member = F.interpolate(member[:, None], finest.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        total = total + member
    return like(total / len(tensors), maps[0])


@dataclass(frozen=True)
class Peaks:
    """Location of the maximum of each fused map, and the member with the highest score there.

    Attributes:
        row: (B,) int64 row of the maximum on the fused grid. Of equal maxima, the first in row-major order is used.
        col: (B,) int64 column of the maximum on the fused grid.
        member: (B,) int64 number of the member with the highest score at the maximum, the first of equal members.
        member_row: (B,) int64 row, on that member's grid, of the cell that contains the center of the fused cell.
        member_col: (B,) int64 column of that cell.
    """

    row: Array
    col: Array
    member: Array
    member_row: Array
    member_col: Array


def largest_scores(maps: Array) -> Array:
    """Return the largest patch score of each image.

    Args:
        maps: (B, H, W) array or tensor of patch scores; NaN marks a patch without a score and is ignored.

    Returns:
        (B,) array or tensor like the maps; NaN for an image without any score.
    """
    flat = as_tensor(maps).flatten(1)
    largest = flat.masked_fill(flat.isnan(), -torch.inf).amax(1)
    return like(torch.where(flat.isnan().all(1), torch.nan, largest), maps)


def image_scores(
    fused: npt.NDArray[np.floating], members: Sequence[npt.NDArray[np.floating]], fusion: str
) -> npt.NDArray[np.float64]:
    """Return the anomaly scores of images.

    Args:
        fused: (B, H, W) fused maps, as `fuse_maps` returns them.
        members: One (B, H, W) array per member: the maps that were fused.
        fusion: 'patch' uses the maximum of the fused map. 'image' uses the mean of the maxima of the members' maps,
            which must then be normalized by the statistics of image scores.

    Returns:
        (B,) float64 scores; NaN for an image without any patch score.
    """
    if fusion == "patch":
        return np.asarray(largest_scores(fused), np.float64)
    return np.asarray(np.mean([largest_scores(maps) for maps in members], axis=0, dtype=np.float64))


def find_peaks(fused: Array, members: Sequence[Array]) -> Peaks:
    """Return the peak of each fused map, and the corresponding patch of the member with the highest score there.

    Args:
        fused: (B, H, W) array or tensor of fused maps, as `fuse_maps` returns them.
        members: One (B, H, W) array or tensor per member: the maps that were fused.

    Returns:
        The peaks, in arrays or tensors like the fused maps.
    """
    tensor = as_tensor(fused)
    height, width = tensor.shape[1:]
    peak = tensor.nan_to_num(nan=-torch.inf).flatten(1).argmax(1)
    row, col = peak // width, peak % width
    image = torch.arange(len(tensor), device=tensor.device)
    values, rows, cols = [], [], []
    for maps in members:
        own = as_tensor(maps).to(tensor)
        # ⌊(cell + 1/2) · own / fused⌋, in integers, because a center on the border of two cells must not be rounded.
        rows.append((2 * row + 1) * own.shape[1] // (2 * height))
        cols.append((2 * col + 1) * own.shape[2] // (2 * width))
        values.append(own[image, rows[-1], cols[-1]].nan_to_num(nan=-torch.inf))
    member = torch.stack(values).argmax(0)
    peaks = (row, col, member, torch.stack(rows)[member, image], torch.stack(cols)[member, image])
    return Peaks(*(like(indices, fused) for indices in peaks))
