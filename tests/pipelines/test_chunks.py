"""Chunks: which pictures share a pass, and what their shards are named by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.chunks import View, chunks_of, cut_chunks, features_key
from pipelines.config import RunConfig
from pipelines.storage import Store
from pipelines.walk import Image
from tests.pipelines.runs import MEMBER

CONFIG = RunConfig("ensemble", "data", "out", (MEMBER,), 96)
VIEW = View.of(MEMBER, CONFIG)
IMAGES = [Image("nut", "new", "", f"{number}.png", content_sha256=f"{number:064x}") for number in range(3)]


def test_chunks_hold_fit_images_or_others_in_order() -> None:
    images = [Image("a", "train", "good", f"a/{n}", part="fit") for n in range(3)]
    images += [Image("a", "train", "good", "a/h", part="holdout")]
    images += [Image("a", "test", "good", f"a/t{n}") for n in range(2)]
    chunks = [[image.image_path for image in chunk] for chunk in cut_chunks(images, 2)]
    assert chunks == [["a/0", "a/1"], ["a/2"], ["a/h", "a/t0"], ["a/t1"]]


def test_the_same_pictures_looked_at_alike_have_the_same_shards() -> None:
    store = Store.of("/data")
    names = [chunk.shard for chunk in chunks_of("nut", VIEW, store, IMAGES, "w", CONFIG)]
    assert names == [chunk.shard for chunk in chunks_of("nut", VIEW, Store.of("/other"), IMAGES, "w", CONFIG)]
    for view in (replace(VIEW, pasted=True), replace(VIEW, image_size=128), replace(VIEW, full_frame=False)):
        assert not set(names) & {chunk.shard for chunk in chunks_of("nut", view, store, IMAGES, "w", CONFIG)}
    changed = [replace(IMAGES[0], content_sha256="f" * 64), *IMAGES[1:]]
    assert not set(names) & {chunk.shard for chunk in chunks_of("nut", VIEW, store, changed, "w", CONFIG)}


@pytest.mark.parametrize("changed", [{"threads_per_unit": 2}, {"gpus_per_actor": 1.0}])
def test_features_depend_on_threads_and_device(changed: dict[str, float]) -> None:
    assert features_key(VIEW, "w", CONFIG) != features_key(VIEW, "w", replace(CONFIG, **changed))  # type: ignore[arg-type]
    assert features_key(VIEW, "w", CONFIG) != features_key(VIEW, "v", CONFIG)
    assert features_key(VIEW, "w", CONFIG) == features_key(VIEW, "w", replace(CONFIG, workers=7))
