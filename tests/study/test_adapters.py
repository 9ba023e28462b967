"""Tests of the study's adapters: how batches are drawn, and the control with shuffled similarities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from reconpatch.adapter.initialization import initial_map
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training import train_adapter
from study.adapters import AdapterRecipe, _nearest_of_other_images, _neighbors, _shuffled, weight_of

rows = np.random.default_rng(0).normal(size=(40 * 9, 6)).astype(np.float16)


def test_neighbors_are_the_nearest_rows_of_other_images() -> None:
    some, image = rows[:60].astype(np.float32), np.arange(60) // 9
    nearest = _nearest_of_other_images(some, image)
    for row in range(60):
        expected = [other for other in range(60) if image[other] != image[row]]
        expected.sort(key=lambda other: float(((some[row] - some[other]) ** 2).sum()))
        assert nearest[row].tolist() == expected[:7]


def test_batches_of_neighbors_are_distinct_rows_and_depend_only_on_the_seed() -> None:
    config = AdapterConfig(batch_size=32, seed=5)
    first, second = (_neighbors(rows, config, 9) for _ in range(2))
    for step in range(4):
        batch = first(step)
        assert len(np.unique(batch)) == len(batch) <= 36
        np.testing.assert_array_equal(batch, second(step))


def test_the_control_assigns_the_same_similarities_to_other_pairs() -> None:
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    config = AdapterConfig(seed=2)
    shuffled, true = _shuffled(config)(z), similarity(z, None, config.contrastive_neighbors, config.alpha)
    torch.testing.assert_close(shuffled.flatten().sort().values, true.flatten().sort().values)
    torch.testing.assert_close(shuffled, shuffled.T)
    assert not torch.equal(shuffled, true)


def test_without_training_f_is_the_initialization_and_a_random_rotation_keeps_the_distances() -> None:
    config = AdapterConfig(init="standard", dim=8, epochs=0)
    assert weight_of(rows, AdapterRecipe(), 9, 0) is None
    weights = [weight_of(rows, AdapterRecipe(config, turned=turned), 9, 0) for turned in (False, True)]
    initial = initial_map(rows, "standard", per_image=9)
    embedded = [
        torch.from_numpy(rows[:50].astype(np.float32) @ weight.T)
        for weight in (initial, *weights)
        if weight is not None
    ]
    assert [patches.shape[1] for patches in embedded] == [6, 6, 8]
    expected = torch.cdist(embedded[0], embedded[0])
    for patches in embedded[1:]:
        torch.testing.assert_close(torch.cdist(patches, patches), expected, atol=2e-3, rtol=1e-3)


def test_an_adapter_is_trained_by_train_adapter_with_the_seed_of_the_trial() -> None:
    config = AdapterConfig(dim=4, epochs=1, max_steps=0, lr=1e-3, batch_size=64)
    trained = train_adapter(rows, replace(config, seed=3)).weight
    weight = weight_of(rows, AdapterRecipe(config), 9, 3)
    assert weight is not None
    np.testing.assert_array_equal(weight, trained)
    for other in (AdapterRecipe(config, shuffled=True), AdapterRecipe(config, neighbors=True)):
        changed = weight_of(rows, other, 9, 3)
        assert changed is not None
        assert not np.allclose(changed, trained, atol=1e-5)
