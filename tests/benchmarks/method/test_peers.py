"""Tests that the reimplemented references compute the right results, because otherwise the ratios mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.method.peers import approximate_greedy, unfold_patch_features
from reconpatch.features.patches import patch_features


@pytest.mark.parametrize("patch_size", [3, 5])
def test_unfold_and_pool_gives_the_same_patch_features(patch_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, *size, generator=generator) for size in ((24, 8, 6), (56, 4, 3))]
    expected = unfold_patch_features(maps, patch_size, 64)
    torch.testing.assert_close(patch_features(maps, patch_size, channels=64), expected, rtol=0, atol=1e-5)


def test_the_approximate_sampler_covers_nearly_all_clusters() -> None:
    torch.manual_seed(0)
    centers = torch.randn(20, 64) * 10.0
    features = centers.repeat_interleave(50, 0) + torch.randn(1_000, 64)
    picks = approximate_greedy(features, 20)
    clusters = np.array(picks) // 50
    assert len(set(picks)) == 20
    assert len(set(clusters.tolist())) >= 18  # The first distances are means, so the sampler can miss some clusters.
