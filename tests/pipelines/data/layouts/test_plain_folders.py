"""Plain folders: a folder of good images and one per defect."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.trees import fields_by_path, look, touch


def test_each_folder_except_good_masks_and_incoming_is_a_defect(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png", "nut/scratch/deep/c.png", "nut/incoming/d.png", "nut/e.png")
    touch(tmp_path, "nut/ground_truth/bent/b_mask.png", "bolt/OK/a.png", "notes/readme.md", "nut/masters.txt")
    touch(tmp_path, "nut/ground_truth/bent/z.png", "nut/good/b.exr", "nut/good/.c.png")
    listing = look(tmp_path)
    assert listing.layout == "folders"
    assert fields_by_path(listing) == {
        "bolt/OK/a.png": ("bolt", "train", "good", 0, None),
        "nut/good/a.png": ("nut", "train", "good", 0, None),
        "nut/bent/b.png": ("nut", "test", "bent", 1, "nut/ground_truth/bent/b_mask.png"),
        "nut/scratch/deep/c.png": ("nut", "test", "scratch", 1, None),
    }
    assert listing.warnings == (
        "nut/good/b.exr: .exr images are not supported. Convert the file to PNG.",
        "nut/ground_truth/bent/z.png: mask not used, because no image in the matching folder has that name.",
        "nut/e.png: not used, because it is in no folder that tells whether it is good.",
    )


@pytest.mark.parametrize(
    "mask", ["Masks/Bent/b.png", "gt/bent/b_GT.png", "masks/b.png", "bent/b_mask.png", "bent/b_label.bmp"]
)
def test_masks_may_be_in_any_of_their_places(tmp_path: Path, mask: str) -> None:
    touch(tmp_path, "nut/Good/a.png", "nut/bent/b.png", f"nut/{mask}")
    assert fields_by_path(look(tmp_path)) == {
        "nut/Good/a.png": ("nut", "train", "good", 0, None),
        "nut/bent/b.png": ("nut", "test", "bent", 1, f"nut/{mask}"),
    }


def test_a_root_with_a_good_folder_is_the_category_and_names_it(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png", "nut/masks/bent/b.png")
    assert fields_by_path(look(tmp_path / "nut")) == {
        "good/a.png": ("nut", "train", "good", 0, None),
        "bent/b.png": ("nut", "test", "bent", 1, "masks/bent/b.png"),
    }


def test_further_halves_of_a_category_are_read_as_in_mvtec_ad(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png", "nut/val/good/c.png", "nut/test/good/d.png", "nut/test/e.png")
    assert {path: fields[1:4] for path, fields in fields_by_path(look(tmp_path)).items()} == {
        "nut/good/a.png": ("train", "good", 0),
        "nut/val/good/c.png": ("validation", "good", 0),
        "nut/bent/b.png": ("test", "bent", 1),
        "nut/test/good/d.png": ("test", "good", 0),
        "nut/test/e.png": ("test", None, None),
    }


def test_folders_with_halves_beside_plain_ones_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "runs/train/x.png")
    listing = look(tmp_path)
    assert listing.categories == ("nut",)
    assert listing.warnings == ("runs: not used, because it has no folder good, ok or normal.",)


def test_an_empty_good_folder_is_a_category_only_beside_others(tmp_path: Path) -> None:
    (tmp_path / "bolt/good").mkdir(parents=True)
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png")
    assert look(tmp_path).categories == ("bolt", "nut")


def test_masks_beside_the_categories_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png", "masks/nut/bent/b_mask.png")
    listing = look(tmp_path)
    assert listing.categories == ("nut",)
    assert listing.warnings == (
        "masks: not used, because masks are read from the folder of their category. Move them there.",
    )
