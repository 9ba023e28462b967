"""Coreset selection for the memory bank: greedy k-center over all rows in full dimension, without projection.

Every pick is the row farthest from all earlier picks, so the largest distance of a row to its nearest pick is at most
twice the optimum (Sener and Savarese 2018; section 3.3 of ReConPatch and PatchCore cite it).

Most rows are never the farthest. The distance of a row to its nearest pick can only shrink, so an outdated distance is
an upper bound. Therefore distances are current only in a pool of the rows with the largest bounds. Rows are picked from
the pool while its farthest row is beyond every bound outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import nearest_rows, require_finite, rounding, squared_lengths

_ROWS = 1 << 14  # rows that are converted, or compared by their differences, at a time
# Elements of the pool. On a CPU, 4 MiB stay in the cache and serve many picks. A GPU reads memory faster than it
# receives rows, so its pool is larger and changes less often.
_POOL, _POOL_GPU = 1 << 20, 1 << 26
_BLOCK, _BLOCK_GPU = 1 << 9, 1 << 13  # rows of the pool that are updated at a time
_CAUGHT_UP_GPU = 1 << 24  # limit of products in one update of these rows


@dataclass(frozen=True)
class Selection:
    """A selection of rows by `farthest_first`.

    Attributes:
        indices: (k,) int64, picked rows of the features, in the order of the picks.
        radius: Largest Euclidean distance of a row to its nearest pick.
    """

    indices: Array
    radius: float


@dataclass(frozen=True)
class Coreset:
    """A selection of rows by `select_coreset`, and the distances of all rows to it.

    Attributes:
        indices: (k,) int64, picked rows of the features (the entries), in the order of the picks.
        radius: Largest `nearest_distance`.
        nearest: (n,) int64, nearest entry of each row, as a position in `indices`; of equal distances, the earliest.
        nearest_distance: (n,) float32 or float64, Euclidean distance of each row to its nearest entry.
        second_distance: (n,) distance of each row to its second nearest entry; inf if there is only one entry.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import select_coreset
        >>> coreset = select_coreset(np.array([[0.0], [1.0], [8.0], [10.0]], np.float32), ratio=0.5)
        >>> coreset.indices.tolist(), coreset.nearest.tolist()  # entries: rows 3 and 0
        ([3, 0], [1, 1, 0, 0])
        >>> coreset.nearest_distance.tolist(), coreset.radius
        ([0.0, 1.0, 2.0, 0.0], 2.0)
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
    """Select a coreset with `farthest_first`, and find the two nearest entries of every row.

    Args:
        features: (n, D) NumPy array or tensor, finite; half precision is computed in float32.
        ratio: Share of the rows to select, in (0, 1].
        first: First row to pick, 0 to n - 1. None: the row farthest from the mean.
        on_pick: Function that is called as on_pick(picked, k) after every pick; `picked` may stay below k.

    Returns:
        A Coreset whose arrays have the kind and device of the features.

    Raises:
        ValueError: The features are not (n, D), empty or not finite, or `ratio` or `first` is out of range.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import select_coreset
        >>> select_coreset(np.array([[0.0], [1.0], [8.0], [10.0]], np.float32), ratio=0.5).indices
        array([3, 0])
    """
    selection = farthest_first(features, ratio, first=first, on_pick=on_pick)
    return _closing_pass(_Features.of(features), torch.as_tensor(selection.indices))


def farthest_first(
    features: Array,
    ratio: float = 0.01,
    *,
    first: int | None = None,
    on_pick: Callable[[int, int], None] | None = None,
    device: str | torch.device | None = None,
) -> Selection:
    """Select k = max(1, round(ratio · n)) rows by exact farthest-first traversal; ties go to the lowest row.

    The selection stops early when every row is at distance 0 from a pick, so it never picks two equal rows. Memory
    holds three numbers per row, the pool and the picked rows; the features may be memory-mapped.

    Args:
        features: (n, D) NumPy array or tensor, finite; half precision is computed in float32.
        ratio: Share of the rows to select, in (0, 1].
        first: First row to pick, 0 to n - 1. None: the row farthest from the mean.
        on_pick: Function that is called as on_pick(picked, k) after every pick; `picked` may stay below k.
        device: Device of the computation, to which blocks of the features are moved. None: the device of the features.

    Returns:
        A Selection whose indices have the kind and device of the features.

    Raises:
        ValueError: The features are not (n, D), empty or not finite, or `ratio` or `first` is out of range.
    """
    if len(features.shape) != 2 or 0 in features.shape:
        raise ValueError(f"The features have shape {tuple(features.shape)}; expected (n, D) with at least one row.")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"The coreset ratio is {ratio}; it must be above 0 and at most 1.")
    n = len(features)
    if first is not None and not 0 <= first < n:
        raise ValueError(f"The first row is {first}; it must be in 0 to {n - 1}.")
    indices, radius = _select(_Features.of(features, device), max(1, round(ratio * n)), first, on_pick)
    if isinstance(features, torch.Tensor):
        indices = indices.to(features.device)
    return Selection(like(indices, features), radius)


@dataclass(frozen=True)
class _Features:
    """The features as they were given, and the device of the computation."""

    array: Array
    device: torch.device

    @classmethod
    def of(cls, array: Array, device: str | torch.device | None = None) -> _Features:
        if isinstance(array, torch.Tensor):
            array, device = array.detach(), device or array.device
        return cls(array, torch.device(device or "cpu"))

    def __len__(self) -> int:
        return len(self.array)

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    def blocks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the rows in blocks, as (slice of the rows, tensor in the precision of the computation)."""
        for start in range(0, len(self.array), _ROWS):
            part = slice(start, start + _ROWS)
            yield part, as_tensor(self.array[part]).to(self.device)

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return the rows with the given indices, in the precision of the computation."""
        if isinstance(self.array, torch.Tensor):
            return as_tensor(self.array[index.to(self.array.device)]).to(self.device)
        return as_tensor(self.array[index.cpu().numpy()]).to(self.device)


class _Entries:
    """The picked rows, unchanged and centered, in arrays that are allocated for all picks."""

    def __init__(self, k: int, like: torch.Tensor) -> None:
        self.count = 0
        self.rows, self.centered = like.new_empty((2, k, like.shape[1]))
        self.norms = like.new_empty(k)

    def add(self, row: torch.Tensor, centered: torch.Tensor) -> None:
        self.rows[self.count] = row
        self.centered[self.count] = centered
        self.norms[self.count] = centered.square().sum()
        self.count += 1


class _Pool:
    """The rows with the largest bounds. The value of a row is its squared distance to the nearest pick."""

    def __init__(self, features: _Features, index: torch.Tensor, seen: torch.Tensor, mean: torch.Tensor) -> None:
        order = seen[index].argsort(stable=True)  # groups rows that need an update for the same picks
        self.index = index[order]
        self._seen = seen[self.index].tolist()
        self.rows = features.take(self.index)
        self.centered = self.rows - mean.to(self.rows.dtype)
        self._norms = self.centered.square().sum(1)
        self._bound = rounding(self.rows)
        # Distances from products are lowered by the bound on their rounding error, so no shrunk distance is missed.
        self._lower = self._norms * (1.0 - 2.0 * self._bound)
        self._products = torch.empty_like(self._lower)

    def catch_up(self, values: torch.Tensor, entries: _Entries) -> None:
        """Update the values of all rows for the entries that were picked since their last update."""
        size = _BLOCK
        if self.rows.is_cuda:
            size = max(_BLOCK, min(_BLOCK_GPU, _CAUGHT_UP_GPU // entries.count))
        for start in range(0, len(self.rows), size):
            block, missed = slice(start, start + size), slice(self._seen[start], entries.count)
            norms = entries.norms[missed]
            if len(norms) == 0:
                continue
            lower = norms * (1.0 - 2.0 * self._bound)
            products = torch.addmm(lower, self.centered[block], entries.centered[missed].T, alpha=-2.0)
            error = 4.0 * self._bound * norms.max() + 2.0 * self._bound * self._norms[block, None]
            row, entry = torch.nonzero(products <= products.amin(1, keepdim=True) + error).unbind(1)
            for part in torch.split(torch.arange(len(row), device=row.device), _ROWS):
                now = entries.rows[missed].index_select(0, entry[part])
                # Usually every row has exactly one candidate; then the rows are not gathered.
                own = self.rows[block] if len(row) == len(products) else self.rows[block].index_select(0, row[part])
                values[block].scatter_reduce_(0, row[part], squared_lengths(now.sub_(own)), "amin")

    def shrink(self, values: torch.Tensor, pick: int) -> None:
        """Update the values of all rows for one more pick, row `pick` of the pool, by one matrix-vector product."""
        torch.addmv(self._lower, self.centered, self.centered[pick], alpha=-2.0, out=self._products)
        self._products += self._lower[pick]
        shrunk = torch.nonzero(self._products < values).squeeze(1)
        for rows in torch.split(shrunk, _ROWS):
            now = squared_lengths(self.rows[rows] - self.rows[pick])
            values[rows] = torch.minimum(values[rows], now)

    def farthest(self, values: torch.Tensor) -> tuple[float, int]:
        """Return the largest value and its row in the pool; of equal values, the row with the lowest index."""
        largest = values.max()
        level = torch.nonzero(values == largest).squeeze(1)
        return float(largest), int(level[self.index[level].argmin()])


def _select(
    features: _Features, k: int, first: int | None, on_pick: Callable[[int, int], None] | None
) -> tuple[torch.Tensor, float]:
    """Return the indices of the picks, and the largest distance of a row to its nearest pick."""
    mean, norms = _center(features)
    n = len(norms)
    pick = _farthest_from(features, mean, norms) if first is None else first
    row = features.take(torch.tensor([pick]))[0]
    entries = _Entries(k, row[None])
    entries.add(row, row - mean.to(row.dtype))
    bounds = torch.empty_like(norms)
    for part, rows in features.blocks():
        bounds[part] = squared_lengths(rows - row)
    seen = torch.ones(n, dtype=torch.int32, device=norms.device)
    picks = [pick]
    if on_pick is not None:
        on_pick(1, k)
    block, pool_elements = (_BLOCK_GPU, _POOL_GPU) if norms.is_cuda else (_BLOCK, _POOL)
    while True:
        index, outside, rival = _largest(bounds, min(max(block, pool_elements // features.width), n))
        pool = _Pool(features, index, seen, mean)
        values = bounds[pool.index]
        pool.catch_up(values, entries)
        while True:
            farthest, position = pool.farthest(values)
            # A row outside of the pool may be as far away as its bound. Of equal distances, the lowest row is picked.
            if farthest < outside or (farthest == outside and int(pool.index[position]) > rival):
                break
            if farthest == 0.0 or len(picks) == k:
                return torch.tensor(picks, dtype=torch.int64, device=norms.device), math.sqrt(farthest)
            entries.add(pool.rows[position], pool.centered[position])
            picks.append(int(pool.index[position]))
            if on_pick is not None:
                on_pick(len(picks), k)
            pool.shrink(values, position)
        bounds[pool.index] = values
        seen[pool.index] = len(picks)


def _largest(bounds: torch.Tensor, size: int) -> tuple[torch.Tensor, float, int]:
    """Return the rows with the largest bounds, ascending (ties: lowest row), the largest other bound, and its row."""
    if size == len(bounds):
        return torch.arange(size, device=bounds.device), -1.0, -1
    least = torch.kthvalue(bounds, len(bounds) - size + 1).values
    above = torch.nonzero(bounds > least).squeeze(1)
    level = torch.nonzero(bounds == least).squeeze(1)
    chosen, left = level[: size - len(above)], level[size - len(above) :]
    index = torch.cat([above, chosen]).sort().values
    if len(left):
        return index, float(least), int(left[0])
    below = bounds.masked_fill(bounds >= least, -1.0)
    outside = float(below.max())
    return index, outside, int(torch.nonzero(below == outside)[0])


def _closing_pass(features: _Features, indices: torch.Tensor) -> Coreset:
    """Return the coreset with the two nearest entries of every row."""
    entries = features.take(indices)
    n, k = len(features), len(indices)
    nearest = torch.empty(n, dtype=torch.int64, device=entries.device)
    distances = entries.new_full((n, 2), torch.inf)
    for part, rows in features.blocks():
        found, distance = nearest_rows(rows, entries, min(2, k))
        nearest[part] = found[:, 0]
        distances[part, : min(2, k)] = distance
    return Coreset(
        indices=like(indices, features.array),
        radius=float(distances[:, 0].max()),
        nearest=like(nearest, features.array),
        nearest_distance=like(distances[:, 0].contiguous(), features.array),
        second_distance=like(distances[:, 1].contiguous(), features.array),
    )


def _center(features: _Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of the rows in float64, and the squared norms of the centered rows."""
    mean = torch.stack([rows.sum(0, dtype=torch.float64) for _, rows in features.blocks()]).sum(0) / len(features)
    norms = torch.cat([squared_lengths(rows - mean.to(rows.dtype)) for _, rows in features.blocks()])
    require_finite(norms)
    return mean, norms


def _farthest_from(features: _Features, mean: torch.Tensor, norms: torch.Tensor) -> int:
    """Return the row farthest from the mean; float64 decides between rows that rounding could exchange."""
    reach = norms.sqrt()
    moved = float((mean.to(norms.dtype).double() - mean).square().sum().sqrt())  # rounding error of the mean
    least = float(reach.max()) * (1.0 - 2.0 * rounding(features.take(torch.tensor([0])))) - 2.0 * moved
    rows = torch.nonzero(reach >= least).squeeze(1)
    parts = torch.split(rows, _ROWS)
    squared = torch.cat([squared_lengths(features.take(part).double() - mean) for part in parts])
    return int(rows[torch.nonzero(squared == squared.max())[0, 0]])
