"""Discovery of the files of a data root: selection of images, pairing of masks, and warnings."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.data.discovery import Truth, Walk, is_filled, named, pictures_in
from pipelines.data.records import ImageRecord
from pipelines.storage.store import Store
from tests.pipelines.trees import look, paths, touch


def listed(root: Path) -> dict[str, ImageRecord]:
    return {image.image_path: image for image in look(root).images}


def test_suffixes_are_recognized_in_upper_and_lower_case(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"nut/train/good/{name}" for name in ("a.PNG", "b.Jpg", "c.JPEG", "d.bmp", "e.TIF", "f.tiff", "g.webp")),
    )
    assert len(look(tmp_path).images) == 7


def test_hidden_files_and_files_that_are_no_images_are_ignored_without_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/.b.png", "nut/train/good/Thumbs.db", "LICENSE.txt")
    touch(tmp_path, ".cache/train/good/x.png", "notes/readme.md", "nut/test/.hidden/x.png")
    (tmp_path / "nut/test/empty").mkdir(parents=True)
    listing = look(tmp_path)
    assert paths(listing) == ["nut/train/good/a.png"]
    assert listing.warnings == ()


def test_a_warning_names_images_in_an_unsupported_format(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/b.SVG")
    assert look(tmp_path).warnings == ("nut/train/good/b.SVG: .svg images are not supported. Convert the file to PNG.",)


def test_system_folders_are_no_categories(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "lost+found/train/good/a.png", ".snapshot/train/good/a.png")
    assert look(tmp_path).categories == ("nut",)


def test_subfolders_of_a_defect_belong_to_the_defect(tmp_path: Path) -> None:
    touch(tmp_path, "weld/train/good/monday/1.png", "weld/test/scratch/deep/1.png", "weld/test/scratch/light/1.png")
    touch(tmp_path, "weld/ground_truth/scratch/deep/1_mask.png", "weld/ground_truth/scratch/light/1_mask.png")
    images = listed(tmp_path)
    assert set(images) == {
        "weld/train/good/monday/1.png",
        "weld/test/scratch/deep/1.png",
        "weld/test/scratch/light/1.png",
    }
    for depth in ("deep", "light"):
        image = images[f"weld/test/scratch/{depth}/1.png"]
        assert (image.defect, image.mask_path) == ("scratch", f"weld/ground_truth/scratch/{depth}/1_mask.png")


def test_masks_are_paired_by_stem_and_not_by_order(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    for stem in ("1", "10", "2", "p.v2.1", "p.v2"):
        touch(tmp_path, f"nut/test/bent/{stem}.png")
    touch(tmp_path, "nut/test/bent/006.bmp", "nut/test/bent/000.png", "nut/test/bent/none.png")
    for name in (
        "1_mask.png",
        "10_mask.png",
        "2_mask.png",
        "p.v2.1_mask.png",
        "006_mask.PNG",
        "000.png",
        "stray_mask.png",
    ):
        touch(tmp_path, f"nut/ground_truth/bent/{name}")
    listing = look(tmp_path)
    masks = {Path(i.image_path).name: i.mask_path for i in listing.images if i.split == "test"}
    assert {name: mask and Path(mask).name for name, mask in masks.items()} == {
        "1.png": "1_mask.png",
        "10.png": "10_mask.png",
        "2.png": "2_mask.png",
        "p.v2.1.png": "p.v2.1_mask.png",
        "p.v2.png": None,
        "006.bmp": "006_mask.PNG",
        "000.png": "000.png",
        "none.png": None,
    }
    assert len(listing.warnings) == 1
    assert listing.warnings[0].startswith(
        "nut/ground_truth/bent/stray_mask.png: mask not used, because no image in the matching folder has"
    )


def test_a_fingerprint_covers_an_image_and_its_mask(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/bent/c.png", "nut/ground_truth/bent/c_mask.png")
    os.utime(tmp_path / "nut/test/bent/c.png", ns=(0, 5000))
    os.utime(tmp_path / "nut/ground_truth/bent/c_mask.png", ns=(0, 7000))
    assert listed(tmp_path)["nut/test/bent/c.png"].fingerprint == "1-5000|1-7000"


def test_the_label_follows_from_the_defect_and_only_a_defect_has_a_mask() -> None:
    walk = Walk()
    for defect in ("good", "bent", None):
        walk.add("nut", (f"{defect}.png", None), split="test", defect=defect, truth=Truth(masks=(("m.png", None),)))
    assert [(image.defect, image.label, image.mask_path) for image in walk.images] == [
        ("good", 0, None),
        ("bent", 1, "m.png"),
        (None, None, None),
    ]


def test_a_folder_is_filled_if_it_has_a_file_or_folder_that_is_not_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.txt", "b/.hidden", "c/d/.hidden")
    store = Store.of(str(tmp_path))
    assert {name: is_filled(store, name) for name in ("a", "b", "c", "nowhere")} == {
        "a": True,
        "b": False,
        "c": True,
        "nowhere": False,
    }


def test_unsupported_formats_are_named_in_one_warning_each() -> None:
    walk = Walk()
    files = [(f"{name}.{suffix}", None) for suffix in ("svg", "png", "EXR") for name in "abcdefg"]
    assert pictures_in(files, walk) == [(f"{name}.png", None) for name in "abcdefg"]
    assert walk.warnings == [
        "a.svg, b.svg, c.svg, d.svg, e.svg and 2 more: .svg images are not supported. Convert the files to PNG.",
        "a.EXR, b.EXR, c.EXR, d.EXR, e.EXR and 2 more: .exr images are not supported. Convert the files to PNG.",
    ]


def test_a_long_list_of_names_is_shortened() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_folders_of_storage_servers_are_ignored_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/@eaDir/a.png/SYNOFILE_THUMB_M.png", "nut/#recycle/b.png")
    listing = look(tmp_path)
    assert paths(listing) == ["nut/train/good/a.png"]
    assert listing.warnings == ()


def test_links_without_a_target_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    for name in ("b.png", "c.png"):
        (tmp_path / "nut/train/good" / name).symlink_to("../../.git/annex/objects/missing")
    listing = look(tmp_path)
    assert paths(listing) == ["nut/train/good/a.png"]
    (warning,) = listing.warnings
    assert warning.startswith("'nut/train/good/b.png', 'nut/train/good/c.png' (2): skipped, because the target of the ")


def test_files_that_may_be_images_without_a_suffix_are_named_in_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/b", "nut/train/good/c.png.bak", "nut/train/good/d.txt")
    (warning,) = look(tmp_path).warnings
    assert warning == (
        "nut/train/good/b, nut/train/good/c.png.bak (2): not used, because the name does not end in the suffix of an "
        "image. Rename the files if they are images."
    )
