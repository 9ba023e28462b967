"""The archive of the magnetic tiles: the folder is the label, and masks lie beside the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch


def test_the_folder_is_the_label_and_the_png_of_the_same_stem_the_mask(tmp_path: Path) -> None:
    for folder, number in (("MT_Free", 1), ("MT_Free", 2), ("MT_Crack", 3)):
        touch(tmp_path, f"{folder}/Imgs/exp1_num_{number}.jpg", f"{folder}/Imgs/exp1_num_{number}.png")
    listing = look(tmp_path)
    assert listing.layout == "magnetic_tile"
    assert fields_by_path(listing) == {
        "MT_Free/Imgs/exp1_num_1.jpg": ("magnetic_tile", "train", "good", 0, None),
        "MT_Free/Imgs/exp1_num_2.jpg": ("magnetic_tile", "train", "good", 0, None),
        "MT_Crack/Imgs/exp1_num_3.jpg": ("magnetic_tile", "test", "Crack", 1, "MT_Crack/Imgs/exp1_num_3.png"),
    }
    assert listing.warnings == ()


def test_an_image_without_a_mask_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "MT_Free/Imgs/1.jpg", "MT_Fray/Imgs/2.jpg", "MT_Fray/Imgs/3.jpg", "MT_Fray/Imgs/3.png")
    masks = {path: mask for path, (*_, mask) in fields_by_path(look(tmp_path)).items()}
    assert masks == {
        "MT_Free/Imgs/1.jpg": None,
        "MT_Fray/Imgs/2.jpg": None,
        "MT_Fray/Imgs/3.jpg": "MT_Fray/Imgs/3.png",
    }


def test_a_mask_without_an_image_is_named_and_not_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "MT_Free/Imgs/1.jpg", "MT_Fray/Imgs/2.jpg", "MT_Fray/Imgs/2.png", "MT_Fray/Imgs/3.png")
    listing = look(tmp_path)
    assert {image.image_path: image.mask_path for image in listing.images} == {
        "MT_Free/Imgs/1.jpg": None,
        "MT_Fray/Imgs/2.jpg": "MT_Fray/Imgs/2.png",
    }
    assert listing.warnings == ("MT_Fray/Imgs/3.png: mask not used, because there is no image of the same stem.",)


def test_without_good_images_the_layout_does_not_apply(tmp_path: Path) -> None:
    touch(tmp_path, "MT_Fray/Imgs/2.jpg", "MT_Fray/Imgs/2.png")
    (tmp_path / "MT_Free").mkdir()
    with pytest.raises(UsageError, match="no category found"):
        look(tmp_path)
