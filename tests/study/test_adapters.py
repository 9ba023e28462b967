"""The study's adapters: the ways batches are drawn, and the control."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from reconpatch.adapter import train_adapter
from reconpatch.schedule import AdapterConfig
from reconpatch.similarity import similarity
from reconpatch.starts import start_map
from study.adapters import AdapterRecipe, _nearest_of_others, _neighbours, _shuffled, weight_of

rows = np.random.default_rng(0).normal(size=(40 * 9, 6)).astype(np.float16)


def test_neighbours_are_the_nearest_rows_of_other_images() -> None:
    some, image = rows[:60].astype(np.float32), np.arange(60) // 9
    found = _nearest_of_others(some, image)
    for row in range(60):
        others = [other for other in range(60) if image[other] != image[row]]
        others.sort(key=lambda other: float(((some[row] - some[other]) ** 2).sum()))
        assert found[row].tolist() == others[:7]


def test_batches_of_neighbours_are_distinct_rows_and_the_same_for_a_seed() -> None:
    config = AdapterConfig(batch_size=32, seed=5)
    first, second = (_neighbours(rows, config, 9) for _ in range(2))
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


def test_without_training_f_is_the_start_and_its_random_turn_keeps_the_distances() -> None:
    config = AdapterConfig(start="standard", dim=8, epochs=0)
    assert weight_of(rows, AdapterRecipe(), 9, 0) is None
    weights = [weight_of(rows, AdapterRecipe(config, turned=turned), 9, 0) for turned in (False, True)]
    start = start_map(rows, "standard", per_image=9)
    embedded = [
        torch.from_numpy(rows[:50].astype(np.float32) @ each.T) for each in (start, *weights) if each is not None
    ]
    assert [each.shape[1] for each in embedded] == [6, 6, 8]
    for each in embedded[1:]:
        torch.testing.assert_close(torch.cdist(each, each), torch.cdist(embedded[0], embedded[0]), atol=2e-3, rtol=1e-3)


def test_training_is_that_of_train_adapter_with_the_trials_seed() -> None:
    config = AdapterConfig(dim=4, epochs=1, max_steps=0, lr=1e-3, batch_size=64)
    trained = train_adapter(rows, replace(config, seed=3)).weight
    found = weight_of(rows, AdapterRecipe(config), 9, 3)
    assert found is not None
    np.testing.assert_array_equal(found, trained)
    for other in (AdapterRecipe(config, shuffled=True), AdapterRecipe(config, neighbours=True)):
        changed = weight_of(rows, other, 9, 3)
        assert changed is not None
        assert not np.allclose(changed, trained, atol=1e-5)
