"""Tests of the study's categories and the halves of their test sets."""

from __future__ import annotations

from study.data import Category, digest, half_of


def test_the_halves_are_disjoint_and_complete(category: Category) -> None:
    halves = {half: {image.image_path for image in category.half(half)} for half in ("A", "B", "AB")}
    assert halves["A"].isdisjoint(halves["B"])
    assert halves["A"] | halves["B"] == halves["AB"] == {image.image_path for image in category.test}
    assert all(half_of(image) == "A" for image in category.half("A"))


def test_images_are_ordered_by_the_hashes_of_their_paths(category: Category) -> None:
    for images in (category.train, category.test):
        hashes = [digest(image.image_path) for image in images]
        assert hashes == sorted(hashes)


def test_only_defective_images_have_a_mask(category: Category) -> None:
    masks = {image.label: category.mask(image) for image in category.test}
    assert masks[0] is None
    assert masks[1] is not None
    assert masks[1].any()
