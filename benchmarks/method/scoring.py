"""Compare the scores with the matrix product that they need, and with the exact search of faiss."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
import torch

from benchmarks.compare import Case, Row, faster, medians
from benchmarks.inputs import real_features, wide_features
from reconpatch.neighbors.coreset import farthest_first
from reconpatch.neighbors.distances import nearest_rows
from reconpatch.neighbors.memory_bank import MemoryBank

_BLOCK = 1 << 20  # number of distances computed at a time, so that they stay in the cache


def run(threads: int) -> Iterator[Row]:
    """Yield rows for the patches of 48 images and three memory banks.

    Args:
        threads: Number of threads of faiss; the caller sets that of torch.
    """
    faiss.omp_set_num_threads(threads)
    narrow = torch.from_numpy(np.array(real_features(200_000), np.float32))
    yield from _against(narrow, 2_000, threads)
    yield from _against(narrow, 6_000, threads)
    yield from _against(wide_features(100_000, 512), 6_000, threads)


def _against(features: torch.Tensor, entries: int, threads: int) -> Iterator[Row]:
    queries = features[-48 * 784 :]
    rows = features[torch.as_tensor(farthest_first(features, entries / len(features)).indices)]
    bank = MemoryBank(rows)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows.numpy())
    columns = rows.T.contiguous()
    step = max(1, _BLOCK // len(rows))
    products = torch.empty(step, len(rows))

    def matmul() -> None:
        for block in torch.split(queries, step):
            torch.mm(block, columns, out=products[: len(block)])

    seconds = medians(
        {
            "scores": lambda: bank.query(queries),
            "nearest": lambda: nearest_rows(queries, rows),
            "matmul": matmul,
            "faiss": lambda: index.search(queries.numpy(), 1),
        },
        rounds=5,
    )
    sizes = f"n {len(queries):,}, |M| {len(rows):,}, D {rows.shape[1]}, {threads} threads"
    bare, ours = seconds["matmul"], seconds["scores"]
    case = Case("scoring", "eqs. 9 and 10", sizes)
    yield Row(case, ours, other=bare, rival="the matrix product alone", ratio=ours / bare, target="≤ 1.3")
    case = Case("scoring", "eq. 9 alone", sizes)
    yield faster(case, seconds["nearest"], seconds["faiss"], rival="faiss IndexFlatL2, k = 1")
