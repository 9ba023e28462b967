"""Compare the greedy selection of the memory bank with those of anomalib and patchcore-inspection."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.compare import Case, Row, faster, medians
from benchmarks.inputs import wide_features
from benchmarks.method.peers import anomalib_greedy, approximate_greedy
from reconpatch.neighbors.coreset import farthest_first, select_coreset

_RATIO = 0.01
_TARGET = "≥ 20"


def run(threads: int) -> Iterator[Row]:
    """Yield rows for 25,000 and 100,000 patches in 512 dimensions, and for noise, whose distances are all similar.

    Args:
        threads: Number of torch threads, for the rows; the caller sets it in torch.
    """
    wide = wide_features(100_000, 512)
    yield from _against("solar cells", wide[:25_000], threads, rounds=3)
    yield from _against("solar cells", wide, threads, rounds=3, target=_TARGET)
    noise = torch.randn(100_000, 512, generator=torch.Generator().manual_seed(0))
    yield from _against("isotropic noise", noise, threads, rounds=1)


def _against(data: str, features: torch.Tensor, threads: int, *, rounds: int, target: str = "") -> Iterator[Row]:
    n, width = features.shape
    k = max(1, round(_RATIO * n))
    seconds = medians(
        {
            "ours": lambda: farthest_first(features, _RATIO),
            "anomalib": lambda: anomalib_greedy(features, _RATIO),
            "patchcore": lambda: approximate_greedy(features, k),
            "closing": lambda: select_coreset(features, _RATIO),
        },
        rounds,
    )
    sizes = f"n {n:,}, D {width}, k {k:,}, {threads} threads"
    case = Case("coreset", f"selection, {data}", sizes)
    yield faster(case, seconds["ours"], seconds["anomalib"], rival="anomalib KCenterGreedy", target=target)
    rival = "patchcore-inspection's sampler, reimplemented"
    yield faster(case, seconds["ours"], seconds["patchcore"], rival=rival, target=target)
    yield Row(Case("coreset", f"final pass alone, {data}", sizes), seconds["closing"] - seconds["ours"])
