"""The archive of AITEX: the code in the name is the defect, and several masks of an image are united."""

from __future__ import annotations

from pathlib import Path

from tests.pipelines.trees import fields_by_path, look, touch


def test_labels_and_masks_follow_from_folders_and_names(tmp_path: Path) -> None:
    touch(
        tmp_path, "NODefect_images/2306881-210020u/0001_000_00.png", "NODefect_images/2311517-195063u/0002_000_01.png"
    )
    touch(tmp_path, "Defect_images/0044_019_04.png", "Defect_images/0001_002_00.png", "Defect_images/0100_025_08.png")
    touch(tmp_path, "Mask_images/0044_019_04_mask1.png", "Mask_images/0044_019_04_mask2.png")
    touch(tmp_path, "Mask_images/0001_002_00_mask.png")
    listing = look(tmp_path)
    assert listing.layout == "aitex"
    assert fields_by_path(listing) == {
        "NODefect_images/2306881-210020u/0001_000_00.png": ("aitex", "train", "good", 0, None),
        "NODefect_images/2311517-195063u/0002_000_01.png": ("aitex", "train", "good", 0, None),
        "Defect_images/0044_019_04.png": ("aitex", "test", "code 019", 1, "Mask_images/0044_019_04_mask1.png"),
        "Defect_images/0001_002_00.png": ("aitex", "test", "code 002", 1, "Mask_images/0001_002_00_mask.png"),
        "Defect_images/0100_025_08.png": ("aitex", "test", "code 025", 1, None),
    }
    more = {image.image_path: image.more_masks for image in listing.images if image.more_masks}
    assert more == {"Defect_images/0044_019_04.png": ("Mask_images/0044_019_04_mask2.png",)}


def test_the_code_000_is_good_and_a_name_without_a_code_has_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "NODefect_images/1/a.png", "Defect_images/0007_000_02.png", "Defect_images/new.png")
    listing = look(tmp_path)
    labels = {image.image_path: (image.split, image.defect, image.label) for image in listing.images}
    assert labels["Defect_images/0007_000_02.png"] == ("test", "good", 0)
    assert labels["Defect_images/new.png"] == ("test", None, None)
    assert listing.warnings == (
        "Defect_images/new.png: used without a label, because the name is not <number>_<code>_<fabric>, which tells "
        "the code of the defect.",
    )


def test_a_mask_without_an_image_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "NODefect_images/1/a.png", "Defect_images/0001_002_00.png", "Mask_images/0009_002_00_mask.png")
    assert look(tmp_path).warnings == (
        "Mask_images/0009_002_00_mask.png: mask not used, because Defect_images contains no image of that name.",
    )
