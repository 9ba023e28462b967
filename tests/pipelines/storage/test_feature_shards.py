"""Feature shards: writing and exact reading, from a local disk and from an object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.storage.feature_shards import read_category, read_shard, write_shard
from pipelines.storage.store import Store


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_shard_is_read_exactly_and_can_be_empty(request: pytest.FixtureRequest, tmp_path: Path, where: str) -> None:
    uri = str(tmp_path) if where == "local" else request.getfixturevalue("bucket")
    store = Store.of(uri).below("shards a=b")
    features = [np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float16) for seed in range(3)]
    write_shard(store, "s.arrow", ["a", "b", "c"], features, grid=(2, 3))
    shard = read_shard(store, "s.arrow")
    assert (shard.image_paths, shard.grid) == (["a", "b", "c"], (2, 3))
    for read, written in zip(shard.features, features, strict=True):
        assert np.array_equal(read, written)
    write_shard(store, "e.arrow", [], [], grid=(2, 3))
    assert read_shard(store, "e.arrow").features == []


def test_a_local_shard_is_memory_mapped(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    write_shard(store, "s.arrow", ["a"], [np.ones((6, 5), np.float16)], grid=(2, 3))
    assert not read_shard(store, "s.arrow").features[0].flags.writeable


@pytest.mark.parametrize("where", ["local", "s3"])
def test_the_features_of_a_category_are_mapped_from_a_file_without_a_name(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    uri = str(tmp_path) if where == "local" else request.getfixturevalue("bucket")
    store = Store.of(uri).below("shards")
    images = [np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float16) for seed in range(3)]
    write_shard(store, "0.arrow", ["a", "b"], images[:2], grid=(2, 3))
    write_shard(store, "1.arrow", [], [], grid=(2, 3))
    write_shard(store, "2.arrow", ["c"], images[2:], grid=(2, 3))
    names = ["0.arrow", "1.arrow", "2.arrow"]
    category = read_category(store, names)
    assert (category.image_paths, category.grid) == (["a", "b", "c"], (2, 3))
    assert isinstance(category.features, np.memmap)
    assert np.array_equal(category.features, np.concatenate(images))
    assert sorted(store.name_of(info) for info in store.files("")) == names
    doubled = read_category(store, names, lambda rows: 2.0 * rows[:, :2].astype(np.float32)).features
    assert np.array_equal(doubled, 2.0 * np.concatenate(images)[:, :2].astype(np.float32))


def test_a_category_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    write_shard(store, "e.arrow", [], [], grid=(2, 3))
    with pytest.raises(ValueError, match="No good image of this category could be read"):
        read_category(store, ["e.arrow"])
