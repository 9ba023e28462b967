"""Greedy selection of the memory bank against anomalib's and patchcore-inspection's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.compare import Row, faster, medians
from benchmarks.inputs import real_features, wide_features
from benchmarks.peers import anomalib_greedy, approximate_greedy
from reconpatch.coreset import farthest_first, select_coreset

_RATIO = 0.01
_TARGET = "≥ 20"


def run(threads: int) -> Iterator[Row]:
    """n from 25,000 to 100,000 in 512 dimensions, and real features of lite0 as they are."""
    wide = wide_features(100_000, 512)
    yield from _against("solar cells", wide[:25_000], threads)
    yield from _against("solar cells", wide, threads, _TARGET)
    yield from _against(
        "isotropic noise", torch.randn(100_000, 512, generator=torch.Generator().manual_seed(0)), threads
    )
    narrow = torch.from_numpy(np.array(real_features(200_000), np.float32))
    yield from _against("solar cells", narrow, threads)


def _against(data: str, features: torch.Tensor, threads: int, target: str = "") -> Iterator[Row]:
    n, width = features.shape
    k = max(1, round(_RATIO * n))
    seconds = medians(
        {
            "ours": lambda: farthest_first(features, _RATIO),
            "anomalib": lambda: anomalib_greedy(features, _RATIO),
            "patchcore": lambda: approximate_greedy(features, k),
            "closing": lambda: select_coreset(features, _RATIO),
        },
        rounds=3,
    )
    sizes = f"n {n:,}, D {width}, k {k:,}, {threads} threads"
    what = f"selection, {data}"
    yield faster("coreset", what, sizes, seconds["ours"], seconds["anomalib"], "anomalib KCenterGreedy", target)
    rival = "patchcore-inspection's sampler, written anew"
    yield faster("coreset", what, sizes, seconds["ours"], seconds["patchcore"], rival, target)
    yield Row("coreset", f"closing pass alone, {data}", sizes, seconds["closing"] - seconds["ours"])
