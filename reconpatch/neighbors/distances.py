"""Euclidean distances by matrix products, with the precision of the differences of rows.

A matrix product is the fastest way to compute many distances, but it loses digits by cancellation: for two rows that
are far from the origin and close to each other, no digit may be correct. The functions of this module therefore work in
two steps. First, a product of centered rows finds *candidate* pairs; a bound on its rounding error makes the search
complete. Then the difference of the two rows decides between candidates and gives the distance. Results depend neither
on the division into blocks nor on the BLAS library.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import torch
from torch.nn.functional import pad

_PAIRS = 1 << 24  # elements of one block of differences: 64 MiB in float32
# Elements of one block of products. On a CPU, a block should stay in the cache while it is searched; a GPU is faster
# with fewer and larger blocks.
_PRODUCTS = 1 << 20
_PRODUCTS_GPU = 1 << 26
_SEARCHED, _SEARCHED_AT_LEAST = 1 << 12, 1 << 10  # queries of one search with faiss, and the minimum for using faiss
_MANY_SUMS = 64  # rows from which the order of a sum on a GPU does not depend on the number of rows
_GROUP = 32  # rows per group; only the smallest product of a group is compared first


def rounding(x: torch.Tensor) -> float:
    """Return a bound on the rounding error of ‖b‖² - 2a·b when a matrix product of rows like those of x computes it.

    The bound c satisfies |computed - true| ≤ c · (‖a‖² + 2‖b‖²). It holds for any order of the D additions (Higham,
    Accuracy and Stability, section 3.1), and so for every BLAS library. It includes 32 eps for the norms, the centering
    and the rounding of the difference of rows. The bound must grow with D because equal terms all round in the same
    direction.

    Args:
        x: (n, D) float32 or float64; only D and the dtype matter.

    Returns:
        c, without unit.
    """
    bound = (x.shape[1] / 2.0 + 32.0) * torch.finfo(x.dtype).eps
    if x.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        bound += 2.0**-7  # products may round their factors to TF32 or bfloat16
    return float(bound)


def require_finite(norms: torch.Tensor) -> None:
    """Raise ValueError if the distances of rows would not be finite.

    Args:
        norms: (n,) squared norms of the rows, float32 or float64.

    Raises:
        ValueError: A squared norm is not finite, or so large that distances computed from it may overflow.
    """
    if not bool((norms < torch.finfo(norms.dtype).max / 16.0).all()):  # the comparison is false for NaN
        raise ValueError("A value is not finite, or its square is too large; check the features.")


def squared_lengths(rows: torch.Tensor) -> torch.Tensor:
    """Return the squared length of each row, summed in an order that depends only on D.

    On a GPU, torch sums fewer than sixteen rows with more threads per row, which changes the rounding. The function
    therefore appends rows of zeros to a small number of rows.

    Args:
        rows: (n, D) float32 or float64. The function overwrites it.

    Returns:
        (n,) of the same dtype.
    """
    few = _MANY_SUMS - len(rows)
    if rows.is_cuda and few > 0:
        return pad(rows, (0, 0, 0, few)).square_().sum(1)[: len(rows)]
    return rows.square_().sum(1)


def squared_distances(x: torch.Tensor) -> torch.Tensor:
    """Return ‖x_i - x_j‖² for all pairs of rows.

    Args:
        x: (N, D) float32 or float64, finite.

    Returns:
        (N, N) of the dtype of x, symmetric, with zeros on the diagonal and no negative values. The distance of equal
        rows is exactly 0, at any distance from the origin. All other values have about the precision of the dtype.

    Raises:
        ValueError: x is not a matrix or has no rows.
    """
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"The matrix has shape {tuple(x.shape)}; expected (N, D) with at least one row.")
    wide = x.double()  # in float32, many more pairs would need their difference
    centered = wide - wide.mean(0)
    norms = centered.square().sum(1)
    sums = norms[:, None] + norms
    squared = torch.addmm(sums, centered, centered.T, alpha=-2.0).clamp_(min=0.0)
    squared = torch.minimum(squared, squared.T)  # the product of a matrix with itself may be asymmetric
    group = torch.unique(x, dim=0, return_inverse=True)[1]
    equal = group[:, None] == group
    squared.masked_fill_(equal, 0.0)
    for rows, cols in _blocks_of_pairs((squared <= _lost_share(x.dtype) * sums) & ~equal, x.shape[1]):
        squared[rows, cols] = squared_lengths(wide[rows] - wide[cols])
    return squared.to(x.dtype)


def neighborhoods(x: torch.Tensor, k: int, squared: torch.Tensor | None = None) -> torch.Tensor:
    """Return the k-nearest neighborhood N_k(i) of every row i, which includes i itself and all ties.

    N_k(i) = {j : d_ij ≤ the k-th smallest value in row i of d}.

    Args:
        x: (N, D) float32 or float64, finite.
        k: Number of neighbors including the row itself, at least 1; min(k, N) is used.
        squared: `squared_distances(x)`, if it is already computed. None: the function computes it.

    Returns:
        (N, N) bool; row i is true for the members of N_k(i). Differences in float64 decide on ties.
    """
    wide = x.double()
    squared = squared_distances(x) if squared is None else squared
    k = min(k, len(x))
    kth = squared.topk(k, dim=1, largest=False).values[:, -1:]
    error = 2.0 * rounding(wide) / _lost_share(x.dtype) + torch.finfo(x.dtype).eps  # relative, of `squared`
    within = squared <= kth * (1.0 + 3.0 * error)
    # If more than k rows are within the limit, their differences decide which of them are ties.
    unsure = torch.nonzero(within.sum(1) > k).squeeze(1)
    some, limit = squared[unsure], kth[unsure] * (1.0 - 3.0 * error)
    level = within[unsure] & (some >= limit)
    exact = torch.where(level, some.double(), torch.where(some < limit, 0.0, torch.inf))
    for rows, cols in _blocks_of_pairs(level & (some > 0.0), x.shape[1]):
        exact[rows, cols] = squared_lengths(wide[unsure[rows]] - wide[cols])
    within[unsure] = exact <= exact.topk(k, dim=1, largest=False).values[:, -1:]
    return within


def _lost_share(dtype: torch.dtype) -> float:
    """Return the share of ‖a‖² + ‖b‖² below which a product in float64 lacks the precision of `dtype`."""
    return 1e-2 if dtype == torch.float64 else 1e-7


def nearest_rows(
    queries: torch.Tensor, rows: torch.Tensor, k: int = 1, *, exclude: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k rows nearest to each query, nearest first; of equal distances, the lowest row first.

    Queries are processed in blocks, so temporary memory does not grow with n.

    Args:
        queries: (n, D) float32 or float64.
        rows: (M, D) of the same dtype and on the same device.
        k: Number of nearest rows, 1 to M; 1 to M - 1 if a row is excluded.
        exclude: (n,) int64, for each query the row that is excluded from its result, or -1. None excludes no row.

    Returns:
        Indices of the rows, (n, k) int64, and Euclidean distances, (n, k), computed from the differences of the rows.

    Raises:
        ValueError: k is out of range, or a value is not finite or so large that its square overflows.
    """
    available = len(rows) - (exclude is not None and bool((exclude >= 0).any()))
    if not 1 <= k <= available:
        raise ValueError(f"The number of nearest rows is {k}; it must be 1 to {available}.")
    # For many queries on a CPU, faiss takes 10 to 20 % less time than torch's product and the search in it (measured).
    searched = not rows.is_cuda and rows.dtype == torch.float32 and len(queries) >= _SEARCHED_AT_LEAST
    return (_by_search if searched and len(rows) > k else _by_products)(queries, rows, k, exclude)


def _centered(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mean of the rows, the centered rows, and their squared norms."""
    shift = rows.mean(0)
    centered = rows - shift
    norms = centered.square().sum(1)
    require_finite(norms)
    return shift, centered, norms


def _by_search(
    queries: torch.Tensor, rows: torch.Tensor, k: int, exclude: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `nearest_rows` with faiss; use torch's products for queries whose result is uncertain due to rounding."""
    shift, centered_rows, norms = _centered(rows)
    faiss.omp_set_num_threads(torch.get_num_threads())
    indices = torch.empty((len(queries), k), dtype=torch.int64)
    distances = queries.new_empty((len(queries), k))
    unsure = torch.zeros(len(queries), dtype=torch.bool) if exclude is None else exclude >= 0
    for start in range(0, len(queries), _SEARCHED):
        part = slice(start, start + _SEARCHED)
        centered = queries[part] - shift
        own_norms = centered.square().sum(1)
        require_finite(own_norms)
        squared, names = map(torch.from_numpy, faiss.knn(centered.numpy(), centered_rows.numpy(), k + 1))
        # Except for rounding, here also of ‖q‖², a row that faiss did not return is at least as far as the last one.
        error = (rounding(rows) + 8.0 * torch.finfo(rows.dtype).eps) * (own_norms + 2.0 * norms.max())
        unsure[part] |= squared[:, k] - squared[:, k - 1] <= 2.0 * error
        names = names[:, :k].sort(dim=1).values  # of equal distances, the lowest row comes first
        exact = (queries[part][:, None, :] - rows[names]).square_().sum(2)
        exact, order = exact.sort(dim=1, stable=True)
        indices[part], distances[part] = names.gather(1, order), exact.sqrt_()
    again = torch.nonzero(unsure).squeeze(1)
    if len(again):
        left_out = None if exclude is None else exclude[again]
        indices[again], distances[again] = _by_products(queries[again], rows, k, left_out)
    return indices, distances


def _by_products(
    queries: torch.Tensor, rows: torch.Tensor, k: int, exclude: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `nearest_rows` with torch's products, for any dtype and device; check every candidate."""
    shift, centered_rows, norms = _centered(rows)
    # There are `size` groups of `group` rows; group i consists of the rows i, i + size, i + 2·size, and so on. The code
    # reads all products once, to find the smallest of each group, and then only those of near groups. Rows of zeros
    # with infinite distance fill the groups.
    group = max(1, min(_GROUP, len(rows) // k))
    size = -(-len(rows) // group)
    padding = (0, size * group - len(rows))
    columns = pad(centered_rows, (0, 0, *padding)).T
    bound = rounding(rows)
    lower = pad(norms * (1.0 - 2.0 * bound), padding, value=torch.inf)
    slack = 4.0 * bound * pad(norms, padding).view(group, size).amax(0)
    indices = torch.empty((len(queries), k), dtype=torch.int64, device=queries.device)
    distances = queries.new_empty((len(queries), k))
    block = max(1, (_PRODUCTS_GPU if rows.is_cuda else _PRODUCTS) // (size * group))
    buffer = queries.new_empty((min(block, len(queries)), size * group))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        centered = queries[part] - shift
        own_norms = centered.square().sum(1, keepdim=True)
        require_finite(own_norms)
        # ‖q‖² is the same for all rows and is omitted. The products are lower bounds except for bound · ‖q‖².
        products = torch.addmm(lower, centered, columns, alpha=-2.0, out=buffer[: len(centered)])
        if exclude is not None:
            excluded = torch.nonzero(exclude[part] >= 0).squeeze(1)
            products[excluded, exclude[part][excluded]] = torch.inf
        products = products.view(-1, group, size)
        least = products.amin(1)
        upper = least + slack
        kth = upper.amin(1, keepdim=True) if k == 1 else upper.topk(k, dim=1, largest=False).values[:, -1:]
        limit = kth + 2.0 * bound * own_norms
        query, where = torch.nonzero(least <= limit).unbind(1)
        member = torch.nonzero(products[query, :, where] <= limit[query])
        query, row = query[member[:, 0]], member[:, 1] * size + where[member[:, 0]]
        in_order = (query * len(rows) + row).argsort()
        indices[part], distances[part] = _decide(queries[part], rows, (query[in_order], row[in_order]), k)
    return indices, distances


def _decide(
    queries: torch.Tensor, rows: torch.Tensor, candidates: tuple[torch.Tensor, torch.Tensor], k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k nearest candidates of each query, by the differences of the rows.

    Args:
        queries: (n, D) queries.
        rows: (M, D) rows.
        candidates: Indices of the query and of the row of each candidate, sorted by query, then by row.
        k: Number of nearest rows.
    """
    query, row = candidates
    counts = torch.bincount(query, minlength=len(queries))
    squared = queries.new_empty(len(query))
    step = max(1, _PAIRS // max(1, rows.shape[1]))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        squared[part] = squared_lengths(queries[query[part]] - rows[row[part]])
    # Each query has a line in a padded table, with its candidates by ascending row. The stable sort then keeps ties in
    # this order.
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = int(counts.max())
    table = queries.new_full((len(queries), width), torch.inf)
    names = row.new_zeros((len(queries), width))
    table[query, column] = squared
    names[query, column] = row
    squared, columns = table.sort(dim=1, stable=True)
    return names.gather(1, columns[:, :k]), squared[:, :k].sqrt()


def _blocks_of_pairs(mask: torch.Tensor, width: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the rows and columns of the true elements, in blocks whose differences have at most `_PAIRS` elements."""
    pairs = torch.nonzero(mask)
    step = max(1, _PAIRS // max(1, width))
    for start in range(0, len(pairs), step):
        rows, cols = pairs[start : start + step].unbind(1)
        yield rows, cols
