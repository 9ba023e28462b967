"""Detection of collapse: measures of the spread, and trainings with and without collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reconpatch.adapter.collapse import Spread, require_spread, spread
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.training import train_adapter


def batch(n: int = 40, width: int = 6) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0)) + 2.0


def test_the_spread_equals_a_computation_by_loops() -> None:
    z = batch().double()
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    squared = [float((z[i] - z[j]).square().sum()) for i, j in pairs]
    measured = spread(z, 3.0, 5)
    assert measured.weight == pytest.approx(np.mean(np.exp(-np.array(squared) / 3.0)))
    assert measured.distance == pytest.approx(np.mean(squared) / np.mean([float(row.square().sum()) for row in z]))
    shares = np.linalg.eigvalsh(np.cov(z.numpy().T))
    shares = shares / shares.sum()
    assert measured.rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_the_rank_is_the_number_of_equally_used_directions() -> None:
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert spread(square, 1.0, 4).rank == pytest.approx(2.0)
    assert spread(square * torch.tensor([1.0, 0.0]), 1.0, 4).rank == pytest.approx(1.0)


def test_the_spread_does_not_depend_on_the_scale_of_z_without_sigma() -> None:
    small, large = spread(batch(), None, 5), spread(1000.0 * batch(), None, 5)
    assert small.weight == pytest.approx(large.weight, rel=1e-4)
    assert small.distance == pytest.approx(large.distance, rel=1e-4)
    assert small.rank == pytest.approx(large.rank, rel=1e-4)


def test_equal_patches_have_no_spread_and_no_nan() -> None:
    for z in (torch.zeros(5, 3), torch.ones(5, 3)):
        measured = spread(z, None, 5)
        assert (measured.weight, measured.distance) == (1.0, 0.0)
        assert measured.rank == pytest.approx(1.0)


START = Spread(weight=0.1, distance=0.8, rank=20.0)


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        ({"weight": 0.95}, "similarity rose from 0.100 to 0.950"),
        ({"distance": 0.004}, "mean distance fell to 0.005 of its initial value"),
        ({"rank": 1.1}, "rank fell from 20.0 to 1.1"),
    ],
)
def test_each_sign_of_collapse_is_an_error(change: dict[str, float], sign: str) -> None:
    with pytest.raises(ValueError, match=f"collapsed at step 300: .*{sign}"):
        require_spread(replace(START, **change), START, 300)


def test_a_moderate_change_and_patches_that_were_equal_at_the_first_step_are_no_collapse() -> None:
    require_spread(Spread(0.5, 0.1, 5.0), START, 300)
    blank = Spread(weight=0.99, distance=1e-6, rank=1.2)
    require_spread(blank, blank, 300)


def test_training_that_collapses_stops() -> None:
    """Two groups attract each other and nothing repels (margin 0), so the embeddings become a line through both."""
    features = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    features[:1000, 0] += 4.0
    options = {"lr": 1e-2, "batch_size": 64, "sigma": 8.0, "alpha": 1.0, "gamma": 0.9}
    config = AdapterConfig(dim=8, epochs=100, max_steps=1000, margin=0.0, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"collapsed at step \d+: the effective rank fell"):
        train_adapter(features, config)


def test_training_without_collapse_records_its_spread() -> None:
    features = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    adapter = train_adapter(features, AdapterConfig(dim=6, epochs=50, batch_size=100, max_steps=0))
    assert sorted(adapter.spreads) == [1, 101, 201, 250]
    assert all(measured.rank > 3 for measured in adapter.spreads.values())
