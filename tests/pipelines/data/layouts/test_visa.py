"""Layout of VisA without its table of splits; `test_detect` has the layout with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch, write_csv


def make_category(root: Path, category: str) -> None:
    """Write a category of VisA with two normal images and two defective ones."""
    images = [
        f"Data/Images/{name}" for name in ("Normal/0000.JPG", "Normal/0001.JPG", "Anomaly/000.JPG", "Anomaly/001.JPG")
    ]
    touch(root / category, *images, "Data/Masks/Anomaly/000.png", "Data/Masks/Anomaly/007.png")
    rows = [(f"{category}/{image}", "normal", "") for image in images[:2]]
    rows += [(f"{category}/{images[2]}", "wax, dent", f"{category}/Data/Masks/Anomaly/000.png")]
    write_csv(root / category / "image_anno.csv", rows, ("image", "label", "mask"))


def test_all_normal_images_are_training_images(tmp_path: Path) -> None:
    make_category(tmp_path, "candle")
    make_category(tmp_path, "pcb1")
    touch(tmp_path, "other/a.png")
    listing = look(tmp_path)
    assert (listing.layout, listing.categories) == ("visa", ("candle", "pcb1"))
    assert fields_by_path(look(tmp_path, "candle")) == {
        "candle/Data/Images/Normal/0000.JPG": ("candle", "train", "good", 0, None),
        "candle/Data/Images/Normal/0001.JPG": ("candle", "train", "good", 0, None),
        "candle/Data/Images/Anomaly/000.JPG": ("candle", "test", "wax+dent", 1, "candle/Data/Masks/Anomaly/000.png"),
        "candle/Data/Images/Anomaly/001.JPG": ("candle", "test", "anomaly", 1, None),
    }
    assert look(tmp_path, "candle").warnings == (
        "candle/Data/Masks/Anomaly/007.png: mask not used, because it has no image.",
        f"No split_csv/1cls.csv in {tmp_path}: all normal images are training images, and no test image is good.",
    )


def test_the_root_can_be_the_folder_of_a_category(tmp_path: Path) -> None:
    make_category(tmp_path, "candle")
    listing = look(tmp_path / "candle")
    assert listing.layout == "visa"
    assert fields_by_path(listing) == {
        "Data/Images/Normal/0000.JPG": ("candle", "train", "good", 0, None),
        "Data/Images/Normal/0001.JPG": ("candle", "train", "good", 0, None),
        "Data/Images/Anomaly/000.JPG": ("candle", "test", "wax+dent", 1, "Data/Masks/Anomaly/000.png"),
        "Data/Images/Anomaly/001.JPG": ("candle", "test", "anomaly", 1, None),
    }


def test_the_table_of_labels_can_be_missing_but_not_damaged(tmp_path: Path) -> None:
    make_category(tmp_path, "candle")
    table = tmp_path / "candle" / "image_anno.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"image_anno.csv is not a table with the columns image and label"):
        look(tmp_path)
    table.unlink()
    assert {image.defect for image in look(tmp_path).images} == {"good", "anomaly"}
