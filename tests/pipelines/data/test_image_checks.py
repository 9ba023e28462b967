"""Warnings about likely mistakes in the images of a dataset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.data.examine import Examined
from pipelines.data.image_checks import copies, copy_warnings, image_warnings, suggested_bits
from pipelines.data.records import ImageRecord


def examined(name: str, **properties: object) -> Examined:
    """Return the result for an image of category nut, unless the name gives another category."""
    category = name.partition("/")[0] if "/" in name else "nut"
    return replace(Examined(ImageRecord(category, "train", "good", name)), **properties)


def test_a_kind_of_mistake_is_one_sentence_for_each_category() -> None:
    results = [examined(f"{number}.tif", frames=2) for number in range(7)] + [examined("bolt/1.tif", frames=3)]
    assert list(image_warnings(results, 16)) == [
        "nut: files with several images, of which only the first is used (7): "
        "0.tif, 1.tif, 2.tif, 3.tif, 4.tif and 2 more.",
        "bolt: files with several images, of which only the first is used (1): bolt/1.tif.",
    ]


def test_images_of_one_single_color_are_named() -> None:
    some = [examined("a.png", is_single_color=True), examined("b.png")]
    assert list(image_warnings(some, 16)) == [
        "nut: images of one single color (1): a.png. Check them; they may be empty frames."
    ]
    every = [examined(f"{number}.png", is_single_color=True) for number in range(3)]
    assert list(image_warnings(every, 16)) == [
        "nut: each of the 3 images has one single color, so there is nothing to learn. Check the export."
    ]


def test_an_ignored_opacity_is_named() -> None:
    assert list(image_warnings([examined("a.bmp", is_opacity_ignored=True), examined("b.bmp")], 16)) == [
        "nut: images whose opacity is 0 everywhere, which is ignored (1): a.bmp."
    ]


@pytest.mark.parametrize(
    ("needed", "bit_depth", "bits"),
    [
        ((9, 10), 16, 10),
        ((9, 11), 16, 12),
        ((12, 12), 16, 12),
        ((13,), 16, 14),
        ((14, None), 16, 14),
        ((12, 15), 16, None),
        ((12,), 12, None),
        ((9,), 12, 10),
        ((None, None), 16, None),
        ((), 16, None),
    ],
)
def test_the_smallest_bit_depth_that_holds_all_values_is_suggested(
    needed: tuple[int | None, ...], bit_depth: int, bits: int | None
) -> None:
    results = [examined("a.png", needed_bits=number) for number in needed]
    assert suggested_bits(results, bit_depth) == bits


def test_a_dark_category_gets_a_hint_at_its_bit_depth() -> None:
    results = [examined("a.png", needed_bits=12), examined("b.png", needed_bits=11)]
    assert list(image_warnings(results, 16)) == [
        "nut: all values are below 4096, but the images are read with 16 bits per channel, so they are dark. "
        "If the camera has 12 bits, set --bit-depth 12."
    ]


def test_images_that_cannot_be_read_give_no_warning() -> None:
    assert list(image_warnings([examined("a.png", error="damaged", frames=2, is_single_color=True)], 16)) == []


def record(path: str, split: str, content: str, category: str = "nut") -> ImageRecord:
    return ImageRecord(category, split, "good", path, content_sha256=content)


def test_copies_are_grouped_across_the_splits_or_within_them() -> None:
    leaked = [record("t/1", "train", "a"), record("v/1", "validation", "a"), record("x/1", "test", "a")]
    within = [record("t/2", "train", "b"), record("v/2", "validation", "b")]
    images = [*leaked, *within, record("x/3", "test", "c")]
    assert copies(images, across=True) == [leaked]
    assert copies(images, across=False) == [within]


def test_copies_in_train_and_test_are_named() -> None:
    images = [record("t/1", "train", "a"), record("x/1", "test", "a"), record("x/2", "test", "b")]
    assert list(copy_warnings(images)) == [
        "nut: identical images in train and test (1): t/1 = x/1. Their scores are too low and the metrics too good. "
        "Remove one of the two."
    ]
    other_category = record("y/1", "test", "a", "bolt")
    assert list(copy_warnings([images[0], other_category])) == []
