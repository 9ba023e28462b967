"""The memory bank's coreset: greedy k-center, farthest first, over all rows and in full dimension.

Sener and Savarese 2018 (ReConPatch section 3.3 and PatchCore cite it): every pick is the point farthest from what
was picked before, which covers the data within twice the best possible radius. Nothing is projected or sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.distances import nearest_rows, require_finite, rounding

_ROWS = 1 << 14  # rows converted, or compared by their differences, at a time


@dataclass(frozen=True)
class Coreset:
    """What was selected, and how far every point is from it.

    Attributes:
        indices: (k,) int64, rows of the features in the order they were picked.
        radius: the largest `nearest_distance`.
        nearest: (n,) int64, each point's nearest entry as a position in `indices`; ties to the earlier pick.
        nearest_distance: (n,) Euclidean, in the dtype of the computation; 0 for the entries themselves.
        second_distance: (n,) to the second nearest entry; inf where only one entry was selected.
    """

    indices: Array
    radius: float
    nearest: Array
    nearest_distance: Array
    second_distance: Array


def select_coreset(
    features: Array,
    ratio: float = 0.01,
    *,
    first: int | None = None,
    on_pick: Callable[[int, int], None] | None = None,
) -> Coreset:
    """Farthest-first selection of max(1, round(ratio · n)) rows, exactly; ties go to the lowest index.

    It stops early when every point is at distance 0 from an entry: no row, and no duplicate, is picked twice.
    Each pick is one matrix-vector product, which says whose distance may have shrunk; the difference of the two rows
    says what it is now. Beside the features as they came, memory holds one centred copy in float32.

    Args:
        features: (n, D) NumPy array or tensor; half precision is computed in float32.
        ratio: share of the rows to select, in (0, 1].
        first: the row to begin with; by default the one farthest from the mean.
        on_pick: called as on_pick(picked, k) after every pick; it ends below k where the selection stops early.

    Returns:
        A Coreset whose arrays are of the features' kind (and device).

    Raises:
        ValueError: features that are not (n, D), empty or not finite; a ratio or a first row out of range.
    """
    features = features.detach() if isinstance(features, torch.Tensor) else features
    if len(features.shape) != 2 or 0 in features.shape:
        raise ValueError(f"The features have shape {tuple(features.shape)}; give (n, D) with at least one row.")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"The coreset's ratio is {ratio}; give a share above 0 and at most 1.")
    n = len(features)
    if first is not None and not 0 <= first < n:
        raise ValueError(f"The first row is {first}, but the rows are 0 to {n - 1}.")
    indices = _farthest_first(features, max(1, round(ratio * n)), first, on_pick)
    return _closing_pass(features, indices)


def _farthest_first(
    features: Array, k: int, first: int | None, on_pick: Callable[[int, int], None] | None
) -> torch.Tensor:
    mean, centred, norms = _centre(features)
    pick = _farthest_from(features, mean, centred, norms) if first is None else first
    # What the product says is lowered by all that its rounding can amount to: a distance that shrank is never missed.
    lower = norms * (1.0 - 2.0 * rounding(centred))
    squared = torch.full_like(norms, torch.inf)  # to the nearest pick, from differences
    products = torch.empty_like(norms)
    picks = []
    for picked in range(1, k + 1):
        picks.append(pick)
        if on_pick is not None:
            on_pick(picked, k)
        torch.addmv(lower, centred, centred[pick], alpha=-2.0, out=products)
        products += lower[pick]
        shrunk = torch.nonzero(products < squared).squeeze(1)
        entry = _rows(features, torch.tensor([pick], device=norms.device))
        for rows in torch.split(shrunk, _ROWS):
            now = (_rows(features, rows) - entry).square_().sum(1)
            squared[rows] = torch.minimum(squared[rows], now)
        farthest = squared.max()
        if farthest == 0.0:
            break
        pick = int(torch.nonzero(squared == farthest)[0])  # the first of them, on any device
    return torch.tensor(picks, dtype=torch.int64, device=norms.device)


def _closing_pass(features: Array, indices: torch.Tensor) -> Coreset:
    """Every point's two nearest entries."""
    entries = _rows(features, indices)
    n, k = len(features), len(indices)
    nearest = torch.empty(n, dtype=torch.int64, device=entries.device)
    distances = entries.new_full((n, 2), torch.inf)
    for start in range(0, n, _ROWS):
        part = slice(start, start + _ROWS)
        found, distance = nearest_rows(as_tensor(features[part]), entries, min(2, k))
        nearest[part] = found[:, 0]
        distances[part, : min(2, k)] = distance
    return Coreset(
        indices=like(indices, features),
        radius=float(distances[:, 0].max()),
        nearest=like(nearest, features),
        nearest_distance=like(distances[:, 0].contiguous(), features),
        second_distance=like(distances[:, 1].contiguous(), features),
    )


def _centre(features: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mean in float64, the centred rows and their squared norms."""
    n, width = features.shape
    blocks = [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
    mean = torch.stack([as_tensor(features[part]).double().sum(0) for part in blocks]).sum(0) / n
    some = as_tensor(features[:1])
    centred = some.new_empty((n, width))
    norms = some.new_empty(n)
    for part in blocks:
        torch.sub(as_tensor(features[part]), mean.to(some.dtype), out=centred[part])
        norms[part] = centred[part].square().sum(1)
    require_finite(norms)
    return mean, centred, norms


def _farthest_from(features: Array, mean: torch.Tensor, centred: torch.Tensor, norms: torch.Tensor) -> int:
    """The row farthest from the mean: of those within rounding of it, the farthest in float64."""
    reach = norms.sqrt()
    moved = float((mean.to(norms.dtype).double() - mean).square().sum().sqrt())  # by which the mean was rounded
    least = float(reach.max()) * (1.0 - 2.0 * rounding(centred)) - 2.0 * moved
    rows = torch.nonzero(reach >= least).squeeze(1)
    squared = torch.cat([(_rows(features, part).double() - mean).square_().sum(1) for part in torch.split(rows, _ROWS)])
    return int(rows[torch.nonzero(squared == squared.max())[0, 0]])


def _rows(features: Array, index: torch.Tensor) -> torch.Tensor:
    """Some rows, in the precision of the computation."""
    return as_tensor(features[index if isinstance(features, torch.Tensor) else index.numpy()])
