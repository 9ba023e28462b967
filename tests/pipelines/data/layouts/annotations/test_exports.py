"""Splits and categories of exports, with LabelMe's files as the example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.data.layouts.annotations.exports import half_of_subset
from pipelines.errors import UsageError
from tests.pipelines.trees import look, paths, touch


def annotate(root: Path, *images: str, label: str = "dent") -> None:
    """Write an image and a LabelMe file with one box for each name without suffix."""
    for image in images:
        touch(root, f"{image}.png")
        shape = {"label": label, "shape_type": "rectangle", "points": [[1, 2], [3, 4]]}
        content = {"imagePath": f"{image.rpartition('/')[2]}.png", "shapes": [shape]}
        (root / f"{image}.json").write_text(json.dumps(content))


def splits(root: Path) -> dict[str, tuple[str, str | None]]:
    """Return image path -> split and defect."""
    return {image.image_path: (image.split, image.defect) for image in look(root).images}


@pytest.mark.parametrize("folder", ["", "default/", "train/", "lot1/"])
def test_without_a_split_good_images_are_for_training_and_the_others_for_testing(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}a.png")
    annotate(tmp_path, f"{folder}b")
    assert splits(tmp_path) == {f"{folder}a.png": ("train", "good"), f"{folder}b.png": ("test", "dent")}
    assert look(tmp_path).warnings == ()


def test_subsets_are_the_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.png", "valid/a.png", "test/a.png")
    annotate(tmp_path, "train/b", "valid/b", "test/b")
    assert splits(tmp_path) == {
        "train/a.png": ("train", "good"),
        "valid/a.png": ("validation", "good"),
        "valid/b.png": ("test", "dent"),
        "test/a.png": ("test", "good"),
        "test/b.png": ("test", "dent"),
    }
    assert look(tmp_path).warnings == (
        "train/b.png: excluded from training, because it has annotations of defects.",
        "valid/b.png: used as test image, because validation images must be good.",
    )


def test_images_of_another_subset_are_excluded_beside_training_and_test_images(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.png", "test/a.png", "spare/a.png")
    annotate(tmp_path, "test/b", "spare/b")
    assert set(splits(tmp_path)) == {"train/a.png", "test/a.png", "test/b.png"}
    (warning,) = look(tmp_path).warnings
    assert (
        warning == "spare/a.png, spare/b.png: excluded, because its subset '' is neither for training nor for testing."
    )


def test_annotations_named_good_mark_no_defect(tmp_path: Path) -> None:
    annotate(tmp_path, "a", label="OK")
    annotate(tmp_path, "b")
    assert splits(tmp_path) == {"a.png": ("train", "good"), "b.png": ("test", "dent")}


def test_each_folder_with_an_export_is_a_category(tmp_path: Path) -> None:
    touch(tmp_path, "bolt/a.png", "nut/a.png", "other/readme.txt")
    annotate(tmp_path, "bolt/b", "nut/b")
    listing = look(tmp_path)
    assert (listing.layout, listing.categories) == ("labelme", ("bolt", "nut"))
    assert listing.warnings == ("other: not used, because it has no LabelMe annotations.",)
    assert paths(look(tmp_path, "nut")) == ["nut/a.png", "nut/b.png"]
    assert look(tmp_path / "nut").categories == ("nut",)


def test_a_dataset_in_which_nothing_is_good_is_refused(tmp_path: Path) -> None:
    annotate(tmp_path, "a", "b")
    with pytest.raises(UsageError) as raised:
        look(tmp_path)
    assert str(raised.value) == (
        f"--data {tmp_path}: none of the 2 images of the LabelMe export is a good training image, that is one without "
        "an annotation of a defect. ReConPatch learns from good images alone. Add images of good parts."
    )


def test_annotations_beside_the_folders_of_mvtec_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/bent/b.png", "annotations/c.png")
    annotate(tmp_path, "annotations/d")
    assert look(tmp_path).layout == "mvtec"


@pytest.mark.parametrize(
    ("subset", "half"),
    [("train", "train"), ("Val", "validation"), ("train2017", "train"), ("test_lot_2", "test"), ("trainer", None)],
)
def test_a_subset_can_contain_the_name_of_a_split(subset: str, half: str | None) -> None:
    assert half_of_subset(subset) == half
