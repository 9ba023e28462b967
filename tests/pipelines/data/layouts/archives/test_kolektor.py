"""The archives of KolektorSDD and KolektorSDD2: an image is good if its mask is black."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch


def save_mask(path: Path, value: int) -> None:
    """Write a mask with a spot of one value; 0 for a black mask."""
    values = np.zeros((8, 6), np.uint8)
    values[2:5, 1:4] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_items_of_kolektorsdd_have_good_images_in_one_split_only(tmp_path: Path) -> None:
    for item in range(1, 12):
        for part in range(3):
            touch(tmp_path, f"kos{item:02d}/Part{part}.jpg")
            save_mask(tmp_path / f"kos{item:02d}/Part{part}_label.bmp", 255 if (item, part) in ((2, 1), (5, 2)) else 0)
    images = fields_by_path(look(tmp_path))
    assert len(images) == 33
    assert {path for path, (_, split, *_) in images.items() if split == "test"} == {
        *(f"kos{item}/Part{part}.jpg" for item in ("05", "10") for part in range(3)),
        "kos02/Part1.jpg",
    }
    assert {path: mask for path, (*_, label, mask) in images.items() if label} == {
        "kos02/Part1.jpg": "kos02/Part1_label.bmp",
        "kos05/Part2.jpg": "kos05/Part2_label.bmp",
    }


@pytest.mark.parametrize("value", [1, 2, 128, 255])
def test_any_value_but_0_marks_a_defect(tmp_path: Path, value: int) -> None:
    touch(tmp_path, *(f"{name}.png" for name in ("train/1", "train/2", "test/3", "test/4")))
    for name, spot in (("train/1", 0), ("train/2", value), ("test/3", 0), ("test/4", value)):
        save_mask(tmp_path / f"{name}_GT.png", spot)
    listing = look(tmp_path)
    assert listing.layout == "kolektorsdd2"
    assert fields_by_path(listing) == {
        "train/1.png": ("kolektorsdd2", "train", "good", 0, None),
        "test/3.png": ("kolektorsdd2", "test", "good", 0, None),
        "test/4.png": ("kolektorsdd2", "test", "defect", 1, "test/4_GT.png"),
    }
    assert listing.warnings == ("train/2.png: excluded from training, because the mask is not black.",)


def test_a_folder_of_masks_with_other_names_is_another_layout(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "train/1_label.png", "test/2.png")
    with pytest.raises(UsageError, match="no category found"):
        look(tmp_path)
