"""The memory bank's coreset: greedy k-center, farthest first, over all rows and in full dimension.

Sener and Savarese 2018 (ReConPatch section 3.3 and PatchCore cite it): every pick is the point farthest from what
was picked before, which covers the data within twice the best possible radius. Nothing is projected or sampled.

The next pick is the point with the largest distance, and most points never come near that. A distance to the nearest
pick only ever shrinks, so an old value bounds the true one from above. Only a pool of the points with the largest
bounds is kept up to date; greedy selection goes on inside it for as long as its best beats every bound outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from reconpatch.arrays import Array, as_tensor, like
from reconpatch.neighbors.distances import nearest_rows, require_finite, rounding, squared_lengths

_ROWS = 1 << 14  # rows converted, or compared by their differences, at a time
# Elements of the rows kept up to date: 4 MiB, which stay in a CPU's cache and last for many picks. A GPU reads them
# faster than they come to it: there the rarer they change the better.
_POOL, _POOL_GPU = 1 << 20, 1 << 26
_BLOCK, _BLOCK_GPU = 1 << 9, 1 << 13  # rows of the pool that catch up at a time
_CAUGHT_UP_GPU = 1 << 24  # products of these with the entries they have missed, where a GPU's rows are so many


@dataclass(frozen=True)
class Selection:
    """A farthest-first selection.

    Attributes:
        indices: (k,) int64, rows of the features in the order they were picked.
        radius: the largest distance of any row to its nearest pick.
    """

    indices: Array
    radius: float


@dataclass(frozen=True)
class Coreset:
    """A farthest-first selection, and the distance of every point from it.

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
    """Select a coreset by `farthest_first`, and find the two nearest entries of every point.

    Args:
        features: (n, D) NumPy array or tensor; half precision is computed in float32.
        ratio: share of the rows to select, in (0, 1].
        first: row to begin with; by default the one farthest from the mean.
        on_pick: called as on_pick(picked, k) after every pick.

    Returns:
        A Coreset whose arrays are of the features' kind and on their device, where they are computed.

    Raises:
        ValueError: the features are not (n, D), empty or not finite, or the ratio or first row is out of range.

    Example:
        >>> import numpy as np
        >>> from reconpatch import select_coreset
        >>> features = np.array([[0.0], [1.0], [9.0], [10.0]], np.float32)
        >>> select_coreset(features, ratio=0.5).indices
        array([0, 3])
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
    """Select max(1, round(ratio · n)) rows farthest first, exactly; ties go to the lowest index.

    It stops early when every point is at distance 0 from an entry: no row, and no duplicate, is picked twice.
    Products say whose distance may have shrunk; the difference of the two rows says what it is now. Beside the
    features as they came, which may be memory-mapped, memory holds three numbers a row, the pool and the entries.

    Args:
        features: (n, D) NumPy array or tensor; half precision is computed in float32.
        ratio: share of the rows to select, in (0, 1].
        first: row to begin with; by default the one farthest from the mean.
        on_pick: called as on_pick(picked, k) after every pick; `picked` stays below k where the selection stops early.
        device: device of the computation; by default that of the features. Only blocks of them are moved there.

    Returns:
        A Selection whose indices are of the features' kind (and device).

    Raises:
        ValueError: the features are not (n, D), empty or not finite, or the ratio or first row is out of range.
    """
    if len(features.shape) != 2 or 0 in features.shape:
        raise ValueError(f"The features have shape {tuple(features.shape)}; give (n, D) with at least one row.")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"The coreset's ratio is {ratio}; give a share above 0 and at most 1.")
    n = len(features)
    if first is not None and not 0 <= first < n:
        raise ValueError(f"The first row is {first}, but the rows are 0 to {n - 1}.")
    indices, radius = _select(_Features.of(features, device), max(1, round(ratio * n)), first, on_pick)
    if isinstance(features, torch.Tensor):
        indices = indices.to(features.device)
    return Selection(like(indices, features), radius)


@dataclass(frozen=True)
class _Features:
    """The features, and the device of the computation."""

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
        """Yield all rows in blocks, in the precision of the computation, and which they are."""
        for start in range(0, len(self.array), _ROWS):
            part = slice(start, start + _ROWS)
            yield part, as_tensor(self.array[part]).to(self.device)

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return some rows, in the precision of the computation."""
        if isinstance(self.array, torch.Tensor):
            return as_tensor(self.array[index.to(self.array.device)]).to(self.device)
        return as_tensor(self.array[index.cpu().numpy()]).to(self.device)


class _Entries:
    """The picked rows, as they are and centered, in arrays with room for all picks."""

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
    """The rows with the largest bounds, up to date; a row's value is its squared distance to the nearest pick."""

    def __init__(self, features: _Features, index: torch.Tensor, seen: torch.Tensor, mean: torch.Tensor) -> None:
        order = seen[index].argsort(stable=True)  # rows that have missed equally much stand together
        self.index = index[order]
        self._seen = seen[self.index].tolist()
        self.rows = features.take(self.index)
        self.centered = self.rows - mean.to(self.rows.dtype)
        self._norms = self.centered.square().sum(1)
        self._bound = rounding(self.rows)
        # What a product says is lowered by all that its rounding can amount to: a distance that shrank is never missed.
        self._lower = self._norms * (1.0 - 2.0 * self._bound)
        self._products = torch.empty_like(self._lower)

    def catch_up(self, values: torch.Tensor, entries: _Entries) -> None:
        """Bring the rows' values up to date with the entries that they have not seen yet."""
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
                # Mostly every row has one candidate, and the rows need not be gathered.
                own = self.rows[block] if len(row) == len(products) else self.rows[block].index_select(0, row[part])
                values[block].scatter_reduce_(0, row[part], squared_lengths(now.sub_(own)), "amin")

    def shrink(self, values: torch.Tensor, pick: int) -> None:
        """Bring the values up to date with one more pick, the pool's own row `pick`: one matrix-vector product."""
        torch.addmv(self._lower, self.centered, self.centered[pick], alpha=-2.0, out=self._products)
        self._products += self._lower[pick]
        shrunk = torch.nonzero(self._products < values).squeeze(1)
        for rows in torch.split(shrunk, _ROWS):
            now = squared_lengths(self.rows[rows] - self.rows[pick])
            values[rows] = torch.minimum(values[rows], now)

    def farthest(self, values: torch.Tensor) -> tuple[float, int]:
        """Return the largest value and its row, of equals the one with the lowest index, on any device."""
        largest = values.max()
        level = torch.nonzero(values == largest).squeeze(1)
        return float(largest), int(level[self.index[level].argmin()])


def _select(
    features: _Features, k: int, first: int | None, on_pick: Callable[[int, int], None] | None
) -> tuple[torch.Tensor, float]:
    """Return indices of the picks, and the radius: the largest distance of any row to its nearest pick."""
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
            # A row outside may be as far as its bound says, and of equals the lowest is picked.
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
    """Return rows of the largest bounds, ascending, ties to the lowest; the largest other bound, and its lowest row."""
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
    """Return every point's two nearest entries."""
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
    """Return the mean in float64, and the squared norms of the centered rows."""
    mean = torch.stack([rows.sum(0, dtype=torch.float64) for _, rows in features.blocks()]).sum(0) / len(features)
    norms = torch.cat([squared_lengths(rows - mean.to(rows.dtype)) for _, rows in features.blocks()])
    require_finite(norms)
    return mean, norms


def _farthest_from(features: _Features, mean: torch.Tensor, norms: torch.Tensor) -> int:
    """Return the row farthest from the mean: of those within rounding of it, the farthest in float64."""
    reach = norms.sqrt()
    moved = float((mean.to(norms.dtype).double() - mean).square().sum().sqrt())  # by which the mean was rounded
    least = float(reach.max()) * (1.0 - 2.0 * rounding(features.take(torch.tensor([0])))) - 2.0 * moved
    rows = torch.nonzero(reach >= least).squeeze(1)
    parts = torch.split(rows, _ROWS)
    squared = torch.cat([squared_lengths(features.take(part).double() - mean) for part in parts])
    return int(rows[torch.nonzero(squared == squared.max())[0, 0]])
