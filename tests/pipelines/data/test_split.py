"""Assignment of good training images to fitting or calibration by their contents."""

from __future__ import annotations

import hashlib
from dataclasses import replace

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


def test_19_validation_images_calibrate_instead_of_training_images() -> None:
    images = assign_parts([*contents(120), *renamed(contents(19, "validation"))], 0.2)
    assert {image.part for image in images if image.split == "train"} == {"fit"}
    assert {image.part for image in images if image.split == "validation"} == {"holdout"}


def test_fewer_validation_images_calibrate_besides_the_held_out_training_images() -> None:
    alone = {image.image_path: image.part for image in assign_parts(contents(120), 0.2)}
    images = assign_parts([*contents(120), *renamed(contents(18, "validation"))], 0.2)
    assert {image.image_path: image.part for image in images if image.split == "train"} == alone
    assert {image.part for image in images if image.split == "validation"} == {"holdout"}
    # 20 copies of one image are one image.
    copies = [replace(image, content_sha256="f" * 64) for image in contents(20, "validation")]
    assert {image.part for image in assign_parts([*contents(120), *copies], 0.2) if image.split == "train"} == {
        "fit",
        "holdout",
    }


def test_a_copy_of_a_validation_image_is_never_fitted_on() -> None:
    train, validation = contents(50), contents(30, "validation")  # the first 30 contents are the same
    parts = [image.part for image in assign_parts([*train, *validation], 0.2) if image.split == "train"]
    assert parts == ["holdout"] * 30 + ["fit"] * 20


def test_the_views_of_a_workpiece_have_the_same_part() -> None:
    images = [replace(image, part_id=f"part {number // 5}") for number, image in enumerate(contents(200))]
    parts = [image.part for image in assign_parts(images, 0.2)]
    assert all(len(set(parts[start : start + 5])) == 1 for start in range(0, 200, 5))
    assert set(parts) == {"fit", "holdout"}


def renamed(images: list[ImageRecord]) -> list[ImageRecord]:
    """Return the images with other contents than those of `contents`."""
    return [replace(image, content_sha256=str(image.content_sha256)[::-1]) for image in images]


def test_images_are_grouped_in_the_order_given() -> None:
    images = [ImageRecord(category, "train", "good", f"{category}{number}") for number in range(2) for category in "ba"]
    groups = by_category(images)
    assert {category: [image.image_path for image in group] for category, group in groups.items()} == {
        "b": ["b0", "b1"],
        "a": ["a0", "a1"],
    }
    assert list(groups) == ["b", "a"]
