"""The study's adapters: the ways batches are drawn, and the control."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reconpatch.schedule import AdapterConfig
from reconpatch.similarity import similarity
from study.adapters import Adapter, _draw, _neighbours, _shuffled, weight_of

rows = np.random.default_rng(0).normal(size=(40 * 9, 6)).astype(np.float16)


def test_neighbours_are_the_nearest_rows_of_other_images() -> None:
    some, image = rows[:60].astype(np.float32), np.arange(60) // 9
    found = _neighbours(some, image)
    for row in range(60):
        others = [other for other in range(60) if image[other] != image[row]]
        others.sort(key=lambda other: float(((some[row] - some[other]) ** 2).sum()))
        assert found[row].tolist() == others[:7]


def test_batches_of_neighbours_are_distinct_rows_and_the_same_for_a_seed() -> None:
    adapter = Adapter(draw="neighbours", batch_size=32)
    first, second = (_draw(rows, adapter, 9, 5) for _ in range(2))
    assert first is not None
    assert second is not None
    for step in range(4):
        batch = first(step)
        assert len(np.unique(batch)) == len(batch) <= 36
        np.testing.assert_array_equal(batch, second(step))


def test_the_control_has_the_same_weights_for_other_pairs() -> None:
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    config = AdapterConfig(seed=2)
    told, true = _shuffled(config)(z), similarity(z, None, config.neighbours, config.alpha)
    torch.testing.assert_close(told.flatten().sort().values, true.flatten().sort().values)
    torch.testing.assert_close(told, told.T)
    assert not torch.equal(told, true)


def test_no_steps_are_the_start_and_few_small_ones_stay_near_it() -> None:
    assert weight_of(rows, Adapter(), 9, 0) is None
    start = weight_of(rows, Adapter("standard"), 9, 0)
    trained = weight_of(rows, Adapter("standard", steps=3, lr=1e-9, batch_size=64), 9, 0)
    assert start is not None
    assert trained is not None
    distances = [
        torch.cdist(*2 * [torch.from_numpy(rows[:50].astype(np.float32) @ each.T)]) for each in (start, trained)
    ]
    torch.testing.assert_close(*distances, atol=1e-2, rtol=1e-3)


def test_the_schedule_makes_the_rates_that_were_asked_for() -> None:
    seen = []
    import study.adapters as module

    original = module.train_adapter
    try:
        module.train_adapter = lambda features, config, **options: (
            seen.append((features, config)) or original(features, config, **options)
        )
        weight_of(rows, replace(Adapter(steps=5, lr=1e-3, gamma=0.97), batch_size=64), 9, 0)
    finally:
        module.train_adapter = original
    from reconpatch.adapter import schedule

    plan = schedule(len(seen[0][0]), seen[0][1])
    assert plan.steps == 5
    assert plan.lr == pytest.approx(1e-3)
    assert plan.gamma == pytest.approx(0.97)
