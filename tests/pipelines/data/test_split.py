"""Assignment of good training images to fitting or calibration by their contents."""

from __future__ import annotations

import hashlib

from pipelines.data.records import ImageRecord
from pipelines.data.split import assign_parts, by_category


def contents(n: int, split: str = "train") -> list[ImageRecord]:
    return [
        ImageRecord("a", split, "good", f"a/{split}/{k}", content_sha256=hashlib.sha256(bytes([k])).hexdigest())
        for k in range(n)
    ]


def test_only_good_training_images_are_fitted_or_held_out_by_content() -> None:
    parts = {image.image_path: image.part for image in assign_parts([*contents(200), *contents(50, "test")], 0.2)}
    assert {part for path, part in parts.items() if "/test/" in path} == {None}
    train = [part for path, part in parts.items() if "/train/" in path]
    assert set(train) == {"fit", "holdout"}
    assert 20 <= train.count("holdout") <= 60
    alone = {image.image_path: image.part for image in assign_parts(contents(120), 0.2)}
    assert all(parts[path] == part for path, part in alone.items())  # further images change no assignment


def test_without_calibration_images_all_images_are_fitted() -> None:
    assert {image.part for image in assign_parts(contents(9), 0.5)} == {"fit"}
    assert {image.part for image in assign_parts(contents(200), 0.0)} == {"fit"}


def test_images_are_grouped_in_the_order_given() -> None:
    images = [ImageRecord(category, "train", "good", f"{category}{number}") for number in range(2) for category in "ba"]
    groups = by_category(images)
    assert {category: [image.image_path for image in group] for category, group in groups.items()} == {
        "b": ["b0", "b1"],
        "a": ["a0", "a1"],
    }
    assert list(groups) == ["b", "a"]
