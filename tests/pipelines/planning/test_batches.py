"""Tests of image batches: which images share a batch, and what the names of their shards depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.config.run_config import RunConfig
from pipelines.data.records import ImageRecord
from pipelines.planning.batches import FeatureSpec, batches_of, cut_batches, features_key
from pipelines.storage.store import Store
from tests.pipelines.runs import MEMBER

CONFIG = RunConfig(command="ensemble", data="data", out="out", members=(MEMBER,), image_size=96)
SPEC = FeatureSpec.of(MEMBER, CONFIG)
IMAGES = [ImageRecord("nut", "new", "", f"{number}.png", content_sha256=f"{number:064x}") for number in range(3)]


def test_fit_images_and_others_are_in_separate_batches_in_order() -> None:
    images = [ImageRecord("a", "train", "good", f"a/{n}", part="fit") for n in range(3)]
    images += [ImageRecord("a", "train", "good", "a/h", part="holdout")]
    images += [ImageRecord("a", "test", "good", f"a/t{n}") for n in range(2)]
    batches = [[image.image_path for image in batch] for batch in cut_batches(images, 2)]
    assert batches == [["a/0", "a/1"], ["a/2"], ["a/h", "a/t0"], ["a/t1"]]


def shards(images: list[ImageRecord], spec: FeatureSpec, root: str = "/data") -> list[str]:
    batches = batches_of(images, spec, Store.of(root), weights_sha256="w", config=CONFIG)
    return [batch.shard for batch in batches]


def test_shards_depend_on_images_and_feature_settings() -> None:
    names = shards(IMAGES, SPEC)
    assert names == shards(IMAGES, SPEC, "/other")
    for spec in (replace(SPEC, pasted=True), replace(SPEC, image_size=128), replace(SPEC, full_frame=False)):
        assert not set(names) & set(shards(IMAGES, spec))
    changed = [replace(IMAGES[0], content_sha256="f" * 64), *IMAGES[1:]]
    assert not set(names) & set(shards(changed, SPEC))


@pytest.mark.parametrize("changed", [{"threads_per_unit": 2}, {"gpus_per_actor": 1.0}])
def test_features_depend_on_threads_and_device(changed: dict[str, float]) -> None:
    assert features_key(SPEC, "w", CONFIG) != features_key(SPEC, "w", replace(CONFIG, **changed))  # type: ignore[arg-type]
    assert features_key(SPEC, "w", CONFIG) != features_key(SPEC, "v", CONFIG)
    assert features_key(SPEC, "w", CONFIG) == features_key(SPEC, "w", replace(CONFIG, workers=7))
