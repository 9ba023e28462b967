"""Scores against the bare matrix product they need, and faiss's exact search."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
import torch

from benchmarks.compare import Row, faster, medians
from benchmarks.inputs import real_features, wide_features
from reconpatch.coreset import farthest_first
from reconpatch.distances import nearest_rows
from reconpatch.scoring import MemoryBank

_BLOCK = 1 << 20  # products at a time, so that they stay in the cache


def run(threads: int) -> Iterator[Row]:
    """Sixteen images' patches at a time, as the pipeline scores them, 48 images in all."""
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
    yield Row("scoring", "eqs. 9 and 10", sizes, ours, bare, "the bare matmul", ours / bare, "≤ 1.3")
    yield faster("scoring", "eq. 9 alone", sizes, seconds["nearest"], seconds["faiss"], "faiss IndexFlatL2, k = 1")
