"""Fusing the members of an ensemble (ReConPatch section 3.3, equation 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from reconpatch.arrays import Array, as_tensor, like

BETA = 1.4826  # makes the MAD of a normal distribution its standard deviation
_BETA_OF_MEAN = 1.2533  # √(π/2): the same for the mean absolute deviation
_NARROW = 1e-3  # a MAD below this share of the 99th percentile says nothing about the spread


@dataclass(frozen=True)
class ScoreStatistics:
    """What equation 11 needs of a member: s̄ = (s - median) / (beta · mad).

    Attributes:
        median: s̃ of the scores.
        mad: their median absolute deviation from it; with `fallback` their mean absolute deviation from it.
        beta: 1.4826; with `fallback` 1.2533.
        fallback: whether the median absolute deviation was too small to divide by.
    """

    median: float
    mad: float
    beta: float
    fallback: bool


def score_statistics(scores: Array) -> ScoreStatistics:
    """Median and MAD of a category's scores, for equation 11.

    Where more than half of the patches score alike (a black background), the MAD is next to nothing though the scores
    do vary: below 1e-3 of the scores' 99th percentile the mean absolute deviation takes its place.

    Args:
        scores: any shape, NumPy array or tensor; NaN (a patch without a score) is left out.

    Returns:
        The statistics, computed in float64.

    Raises:
        ValueError: no score is left, one is infinite, or all are equal.
    """
    values = as_tensor(scores).detach().cpu().numpy().astype(np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        raise ValueError("There is no score to take the median of; fit more than one patch.")
    if not np.isfinite(values).all():
        raise ValueError("A score is infinite; check the features that it was computed from.")
    median = float(np.median(values))
    deviations = np.abs(values - median)
    mad = float(np.median(deviations))
    if mad > 0.0 and mad >= _NARROW * float(np.percentile(values, 99)):
        return ScoreStatistics(median, mad, BETA, fallback=False)
    mad = float(deviations.mean())
    if mad == 0.0:
        raise ValueError(f"All {len(values)} scores are {median}: they have no spread to normalise by.")
    return ScoreStatistics(median, mad, _BETA_OF_MEAN, fallback=True)


def modified_z_score(scores: Array, median: float, mad: float, beta: float = BETA) -> Array:
    """Equation 11: (s - s̃) / (β · MAD).

    Args:
        scores: any shape, NumPy array or tensor; NaN stays NaN.
        median: s̃, of `score_statistics`.
        mad: the MAD, above 0.
        beta: the constant β, above 0.

    Returns:
        The scores' shape, kind and dtype (half precision becomes float32).

    Raises:
        ValueError: β · MAD is not a positive number.
    """
    if not 0.0 < beta * mad < float("inf"):
        raise ValueError(f"beta · MAD is {beta * mad}; a modified z-score needs a positive one.")
    return like((as_tensor(scores) - float(median)) / (float(beta) * float(mad)), scores)


def fuse_maps(maps: Sequence[Array]) -> Array:
    """The mean of the members' maps, on the finest of their grids.

    Args:
        maps: one (B, H, W) map of modified z-scores a member, NumPy arrays or tensors; grids may differ.

    Returns:
        (B, H, W) on the grid with the most cells (the first of equals), of the first map's kind; coarser maps are
        upsampled bilinearly (align_corners=False). float32, or float64 where a map is.

    Raises:
        ValueError: no maps, maps of another rank, of different B or without cells.
    """
    tensors = [as_tensor(member) for member in maps]
    if not tensors or any(member.ndim != 3 or 0 in member.shape[1:] for member in tensors):
        raise ValueError("Fusion needs at least one map of shape (B, H, W) with cells.")
    if any(member.shape[0] != tensors[0].shape[0] for member in tensors):
        raise ValueError(f"The maps are of {sorted({len(member) for member in tensors})} images; give the same images.")
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
    """Where each image's fused map is largest, and which member says so the loudest.

    Attributes:
        row, col: (B,) int64 cells of the fused grid; ties to the first in row order.
        member: (B,) int64, the member whose own map is largest there; ties to the first.
        member_row, member_col: (B,) int64, the cell of that member's grid which lies under the peak's centre.
    """

    row: Array
    col: Array
    member: Array
    member_row: Array
    member_col: Array


def largest_scores(maps: Array) -> Array:
    """(B,) the largest patch score of each (B, H, W) map, patches without a score (NaN) left out; NaN where all are."""
    flat = as_tensor(maps).flatten(1)
    found = flat.masked_fill(flat.isnan(), -torch.inf).amax(1)
    return like(torch.where(flat.isnan().all(1), torch.nan, found), maps)


def image_scores(
    fused: npt.NDArray[np.floating], members: Sequence[npt.NDArray[np.floating]], fusion: str
) -> npt.NDArray[np.float64]:
    """Each image's score: the largest patch of its fused map, or the mean of what is largest in each member's map.

    Args:
        fused: (B, H, W), of `fuse_maps`.
        members: what it was fused from.
        fusion: 'patch', or 'image', for which the members' maps are normalised by their image scores.

    Returns:
        (B,) float64; NaN where no patch has a score.
    """
    if fusion == "patch":
        return np.asarray(largest_scores(fused), np.float64)
    return np.asarray(np.mean([largest_scores(each) for each in members], axis=0, dtype=np.float64))


def find_peaks(fused: Array, members: Sequence[Array]) -> Peaks:
    """The peak of each fused map, and the member patch that it can be explained by.

    Args:
        fused: (B, H, W), of `fuse_maps`.
        members: what it was fused from.

    Returns:
        Peaks, of the fused maps' kind.
    """
    tensor = as_tensor(fused)
    height, width = tensor.shape[1:]
    peak = tensor.nan_to_num(nan=-torch.inf).flatten(1).argmax(1)
    row, col = peak // width, peak % width
    image = torch.arange(len(tensor), device=tensor.device)
    values, rows, cols = [], [], []
    for each in members:
        own = as_tensor(each).to(tensor)
        # (cell + 1/2) · own / fused, in integers: a centre that falls on a border of cells must not be rounded.
        rows.append((2 * row + 1) * own.shape[1] // (2 * height))
        cols.append((2 * col + 1) * own.shape[2] // (2 * width))
        values.append(own[image, rows[-1], cols[-1]].nan_to_num(nan=-torch.inf))
    member = torch.stack(values).argmax(0)
    found = (row, col, member, torch.stack(rows)[member, image], torch.stack(cols)[member, image])
    return Peaks(*(like(each, fused) for each in found))
