"""Euclidean distances by matrix products, exact where it matters.

A Gram product is the fast way to many distances, and it cancels badly: two rows far from the origin and close
to each other lose every digit. Everything here works in two steps, therefore: the product, after centering,
says which pairs are *candidates*, within a bound on its own rounding error; the difference of the two rows
decides, and is what is returned. Results depend neither on the block a row was in nor on the BLAS that ran.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import torch
from torch.nn.functional import pad

_PAIRS = 1 << 24  # elements of one block of differences: 64 MiB in float32
# Elements of one block of products. On a CPU a block should stay in the cache until it is looked through; a GPU
# wants fewer, larger ones.
_PRODUCTS = 1 << 20
_PRODUCTS_GPU = 1 << 26
_SEARCHED, _SEARCHED_AT_LEAST = 1 << 12, 1 << 10  # queries of one search of faiss
_MANY_SUMS = 64
_GROUP = 32  # rows whose least product is looked at first


def rounding(x: torch.Tensor) -> float:
    """Return c in |computed - true| ≤ c · (‖a‖² + 2‖b‖²) for ‖b‖² - 2a·b by a matrix product of rows like x's.

    It holds for any order of the D sums (Higham, Accuracy and Stability, section 3.1), so for every BLAS, and leaves
    32 eps for the norms, the centering and the rounding of the difference that decides. A bound that does not grow
    with D is not enough: equal terms are all rounded the same way.

    Args:
        x: (n, D) float32 or float64; only D and the dtype count.
    """
    bound = (x.shape[1] / 2.0 + 32.0) * torch.finfo(x.dtype).eps
    if x.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
        bound += 2.0**-7  # the caller lets products round their factors to TF32 or bfloat16
    return float(bound)


def require_finite(norms: torch.Tensor) -> None:
    """Refuse rows whose distances would not be finite.

    Args:
        norms: (n,) their squared norms.

    Raises:
        ValueError: one is not finite, or leaves no room for the distances computed from it.
    """
    if not bool((norms < torch.finfo(norms.dtype).max / 16.0).all()):  # false for NaN as well
        raise ValueError("A value is not finite, or so large that its square is not; check where the rows came from.")


def squared_lengths(rows: torch.Tensor) -> torch.Tensor:
    """Return Σ x² of each row, summed in an order that D alone decides.

    On a GPU torch divides the sums of fewer than sixteen rows among more threads each, and they round otherwise: rows
    of zeros make them more.

    Args:
        rows: (n, D), which is overwritten.
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
        (N, N), symmetric, diagonal 0, never negative, of x's dtype. Rows that are equal are at distance 0
        exactly, however far from the origin they are; all others are right to about the dtype's precision.

    Raises:
        ValueError: x is not a matrix, or has no rows.
    """
    if x.ndim != 2 or len(x) == 0:
        raise ValueError(f"Distances need a matrix (N, D) with at least one row; this one is {tuple(x.shape)}.")
    wide = x.double()  # one product in float64 is cheaper than the many differences float32 would need
    centered = wide - wide.mean(0)
    norms = centered.square().sum(1)
    sums = norms[:, None] + norms
    squared = torch.addmm(sums, centered, centered.T, alpha=-2.0).clamp_(min=0.0)
    squared = torch.minimum(squared, squared.T)  # the product of a matrix with itself need not be symmetric
    group = torch.unique(x, dim=0, return_inverse=True)[1]
    equal = group[:, None] == group
    squared.masked_fill_(equal, 0.0)
    for rows, cols in _blocks_of_pairs((squared <= _lost_share(x.dtype) * sums) & ~equal, x.shape[1]):
        squared[rows, cols] = squared_lengths(wide[rows] - wide[cols])
    return squared.to(x.dtype)


def neighborhoods(x: torch.Tensor, k: int, squared: torch.Tensor | None = None) -> torch.Tensor:
    """Return N_k(i) = {j : d_ij ≤ the k-th smallest d_i.}, as a 0/1 matrix; i itself counts, and so do all ties.

    Args:
        x: (N, D) float32 or float64, finite.
        k: at least 1; min(k, N) is used.
        squared: `squared_distances(x)`, where it is known already.

    Returns:
        (N, N) bool; row i marks the members of N_k(i). Ties are those of differences in float64.
    """
    wide = x.double()
    squared = squared_distances(x) if squared is None else squared
    k = min(k, len(x))
    kth = squared.topk(k, dim=1, largest=False).values[:, -1:]
    error = 2.0 * rounding(wide) / _lost_share(x.dtype) + torch.finfo(x.dtype).eps  # relative, of `squared`
    within = squared <= kth * (1.0 + 3.0 * error)
    # Where more than k are within, their differences have to decide which are ties and which near misses.
    unsure = torch.nonzero(within.sum(1) > k).squeeze(1)
    some, limit = squared[unsure], kth[unsure] * (1.0 - 3.0 * error)
    level = within[unsure] & (some >= limit)
    exact = torch.where(level, some.double(), torch.where(some < limit, 0.0, torch.inf))
    for rows, cols in _blocks_of_pairs(level & (some > 0.0), x.shape[1]):
        exact[rows, cols] = squared_lengths(wide[unsure[rows]] - wide[cols])
    within[unsure] = exact <= exact.topk(k, dim=1, largest=False).values[:, -1:]
    return within


def _lost_share(dtype: torch.dtype) -> float:
    """Below this share of ‖a‖² + ‖b‖² a product in float64 has lost what `dtype` holds: the difference must tell."""
    return 1e-2 if dtype == torch.float64 else 1e-7


def nearest_rows(
    queries: torch.Tensor, rows: torch.Tensor, k: int = 1, *, exclude: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k rows nearest to each query, nearest first, ties to the lowest index.

    Args:
        queries: (n, D) float32 or float64.
        rows: (M, D) of the same dtype and device.
        k: how many, from 1 to M (to M - 1 with `exclude`).
        exclude: (n,) int64, a row that does not count for that query; -1 for none.

    Returns:
        indices (n, k) int64 and distances (n, k), Euclidean, each computed from the difference of the two rows.
        Memory is bounded by a block of queries.

    Raises:
        ValueError: k is out of range; a value is not finite, or so large that squares overflow.
    """
    available = len(rows) - (exclude is not None and bool((exclude >= 0).any()))
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest rows were asked for, but there are {available}.")
    # Measured: on CPUs faiss's search for many queries takes 10 to 20 % less than torch's product and what follows it.
    searched = not rows.is_cuda and rows.dtype == torch.float32 and len(queries) >= _SEARCHED_AT_LEAST
    return (_by_search if searched and len(rows) > k else _by_products)(queries, rows, k, exclude)


def _centered(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the rows' mean, the centered rows, and their squared norms."""
    shift = rows.mean(0)
    centered = rows - shift
    norms = centered.square().sum(1)
    require_finite(norms)
    return shift, centered, norms


def _by_search(
    queries: torch.Tensor, rows: torch.Tensor, k: int, exclude: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `nearest_rows` by faiss's search, and by products where rounding makes its result uncertain."""
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
        # Whoever is not among the k + 1 is as far as the last of them, but for rounding (of ‖q‖², too, here).
        error = (rounding(rows) + 8.0 * torch.finfo(rows.dtype).eps) * (own_norms + 2.0 * norms.max())
        unsure[part] |= squared[:, k] - squared[:, k - 1] <= 2.0 * error
        names = names[:, :k].sort(dim=1).values  # of equals the lowest comes first
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
    """Compute `nearest_rows` by torch's products, for any dtype and device; every candidate is checked."""
    shift, centered_rows, norms = _centered(rows)
    # Rows lie in `size` groups of `group`, each every size-th row: the product is read once, for the least of every
    # group; all that follows looks at groups. Rows of zeros, infinitely far, fill the last group.
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
        # ‖q‖² is the same for all rows: it is left out. What is left is a lower bound but for bound · ‖q‖².
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
    """Return the k nearest among each query's candidates, by the difference of the rows.

    Args:
        queries: (n, D).
        rows: (M, D).
        candidates: query and row of each candidate, sorted by query, then by row.
        k: how many.
    """
    query, row = candidates
    counts = torch.bincount(query, minlength=len(queries))
    squared = queries.new_empty(len(query))
    step = max(1, _PAIRS // max(1, rows.shape[1]))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        squared[part] = squared_lengths(queries[query[part]] - rows[row[part]])
    # Candidates of a query stand in a row by ascending index: a padded table and a stable sort keep ties in order.
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = int(counts.max())
    table = queries.new_full((len(queries), width), torch.inf)
    names = row.new_zeros((len(queries), width))
    table[query, column] = squared
    names[query, column] = row
    squared, columns = table.sort(dim=1, stable=True)
    return names.gather(1, columns[:, :k]), squared[:, :k].sqrt()


def _blocks_of_pairs(mask: torch.Tensor, width: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield row and column numbers of the marked pairs, in blocks whose differences fit `_PAIRS` elements."""
    pairs = torch.nonzero(mask)
    step = max(1, _PAIRS // max(1, width))
    for start in range(0, len(pairs), step):
        rows, cols = pairs[start : start + step].unbind(1)
        yield rows, cols
