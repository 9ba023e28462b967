"""From folders to an index: MVTec AD's layout, masks paired by stem, odd files named and never in the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.dataset import assign_parts, examine, find_new, list_images, new_images, trust
from pipelines.storage import Store
from pipelines.usage import UsageError
from pipelines.walk import Image
from tests.pipelines.trees import look, paths, touch


def listed(root: Path) -> dict[str, Image]:
    return {image.image_path: image for image in look(root).images}


def test_splits_defects_and_labels_come_from_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/good/b.png", "nut/test/bent/c.png")
    images = listed(tmp_path)
    assert {path: (i.split, i.part, i.defect, i.label) for path, i in images.items()} == {
        "nut/train/good/a.png": ("train", None, "good", 0),
        "nut/test/good/b.png": ("test", None, "good", 0),
        "nut/test/bent/c.png": ("test", None, "bent", 1),
    }


def test_train_good_alone_is_a_category(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    assert look(tmp_path).categories == ("nut",)


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"nut/train/good/{name}" for name in ("a.PNG", "b.Jpg", "c.JPEG", "d.bmp", "e.TIF", "f.tiff", "g.webp")),
    )
    assert len(look(tmp_path).images) == 7


def test_hidden_and_foreign_files_are_passed_over_without_a_word(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/.b.png", "nut/train/good/Thumbs.db", "LICENSE.txt")
    touch(tmp_path, ".cache/train/good/x.png", "notes/readme.md", "nut/test/.hidden/x.png")
    (tmp_path / "nut/test/empty").mkdir(parents=True)
    listing = look(tmp_path)
    assert paths(listing) == ["nut/train/good/a.png"]
    assert listing.warnings == ()


def test_kinds_of_image_that_are_not_read_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/b.GIF")
    assert look(tmp_path).warnings == ("nut/train/good/b.GIF: .gif images are not read; convert it to PNG.",)


def test_folders_below_a_defect_belong_to_it(tmp_path: Path) -> None:
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


def test_masks_are_paired_by_stem_never_by_order(tmp_path: Path) -> None:
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
        "nut/ground_truth/bent/stray_mask.png: no image of that stem in nut/test/bent"
    )


def test_categories_come_in_order_and_can_be_chosen(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/train/good/a.png" for name in ("zebra", "a=b", "x y", "x%20y", "lot#7")))
    assert look(tmp_path).categories == ("a=b", "lot#7", "x y", "x%20y", "zebra")
    assert look(tmp_path, "x y").categories == ("x y",)


def test_what_a_disk_has_at_its_root_is_no_category(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "lost+found/train/good/a.png", ".snapshot/train/good/a.png")
    assert look(tmp_path).categories == ("nut",)


@pytest.mark.parametrize(
    ("root", "categories", "sentence"),
    [
        ("nowhere", (), "there is no such folder"),
        ("notes", (), "no category in it"),
        (".", ("nut", "bolt"), r"--category bolt: not in .*, which has nut"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, root: str, categories: tuple[str, ...], sentence: str) -> None:
    touch(tmp_path, "nut/train/good/a.png", "notes/readme.md")
    with pytest.raises(UsageError, match=sentence):
        look(tmp_path / root, *categories)


def test_an_image_is_hashed_and_measured(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a/b.png")
    found = examine(Store.of(str(tmp_path)), Image("a", "train", "good", "a/b.png"), 16)
    assert found.error is None
    assert (found.image.height, found.image.width) == (20, 30)
    assert found.image.content_sha256 == hashlib.sha256((tmp_path / "a/b.png").read_bytes()).hexdigest()
    assert (found.frames, found.lowest_sixteenth) == (1, None)


@pytest.mark.parametrize("content", [b"", b"text, not a picture", None])
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "b.png").write_bytes(content)
    found = examine(Store.of(str(tmp_path)), Image("a", "train", "good", "b.png"), 16)
    assert found.image.width is None
    assert found.error


def test_a_picture_that_breaks_off_is_found_before_anything_is_fitted(tmp_path: Path) -> None:
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) * 6 // 10])
    found = examine(Store.of(str(tmp_path)), Image("a", "train", "good", "b.png"), 16)
    assert found.error is not None
    assert "damaged" in found.error


def test_fingerprints_tell_of_the_picture_and_of_its_mask(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/bent/c.png", "nut/ground_truth/bent/c_mask.png")
    os.utime(tmp_path / "nut/test/bent/c.png", ns=(0, 5000))
    os.utime(tmp_path / "nut/ground_truth/bent/c_mask.png", ns=(0, 7000))
    assert listed(tmp_path)["nut/test/bent/c.png"].fingerprint == "1-5000|1-7000"


def test_an_unchanged_fingerprint_is_trusted_and_a_changed_one_is_not() -> None:
    row = {"fingerprint": "1-2", "mask_path": None, "width": 3, "height": 4, "content_sha256": "s", "mask_sha256": None}
    image = Image("a", "test", "good", "a/b.png", fingerprint="1-2")
    known = trust(image, {"a/b.png": row})
    assert known is not None
    assert (known.width, known.height, known.content_sha256) == (3, 4, "s")
    assert trust(image, {"a/b.png": {**row, "fingerprint": "1-3"}}) is None
    assert trust(image, {"a/b.png": {**row, "mask_path": "m"}}) is None
    assert trust(image, {}) is None


def contents(n: int, split: str = "train") -> list[Image]:
    return [
        Image("a", split, "good", f"a/{split}/{k}", content_sha256=hashlib.sha256(bytes([k])).hexdigest())
        for k in range(n)
    ]


def test_good_training_images_are_fitted_or_held_out_by_content_and_no_others_are() -> None:
    parts = {image.image_path: image.part for image in assign_parts([*contents(200), *contents(50, "test")], 0.2)}
    assert {part for path, part in parts.items() if "/test/" in path} == {None}
    train = [part for path, part in parts.items() if "/train/" in path]
    assert set(train) == {"fit", "holdout"}
    assert 20 <= train.count("holdout") <= 60
    alone = {image.image_path: image.part for image in assign_parts(contents(120), 0.2)}
    assert all(parts[path] == part for path, part in alone.items())  # new images moved nobody


def test_with_nothing_to_hold_out_all_are_fitted() -> None:
    assert {image.part for image in assign_parts(contents(9), 0.5)} == {"fit"}
    assert {image.part for image in assign_parts(contents(200), 0.0)} == {"fit"}


def test_new_images_are_found_at_any_depth_and_nothing_is_known_of_them(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "monday/y.JPG", "monday/notes.txt", ".z.png")
    store = Store.of(str(tmp_path))
    found = new_images(store, "nut", find_new(store)[0])
    assert [image.image_path for image in found] == ["monday/y.JPG", "x.png"]
    assert {(i.category, i.split, i.label, i.part, i.mask_path) for i in found} == {("nut", "new", None, None, None)}
    assert find_new(Store.of(str(tmp_path / "empty"))) == ([], [])


def test_new_images_in_a_categorys_test_folder_are_what_they_are_filed_under(tmp_path: Path) -> None:
    touch(tmp_path, "nut/test/good/a.png", "nut/test/bent/deep/b.png", "nut/test/c.png", "nut/d.png")
    store = Store.of(str(tmp_path))
    found = new_images(store, "nut", find_new(store, "nut")[0])
    assert {(image.image_path, image.defect, image.label) for image in found} == {
        ("nut/test/good/a.png", "good", 0),
        ("nut/test/bent/deep/b.png", "bent", 1),
        ("nut/test/c.png", None, None),
        ("nut/d.png", None, None),
    }


@pytest.mark.parametrize("root", ["local", "s3"])
def test_a_data_root_may_be_an_object_store(request: pytest.FixtureRequest, tmp_path: Path, root: str) -> None:
    store = Store.of(str(tmp_path) if root == "local" else request.getfixturevalue("bucket")).below("data x=y")
    for name in (
        "a=b/train/good/1.png",
        "a=b/test/cut/2.png",
        "a=b/ground_truth/cut/2_mask.png",
        "x%20y/test/good/3.png",
    ):
        store.write(name, b"x")
    listing = list_images(store)
    assert listing.categories == ("a=b", "x%20y")
    assert [(image.image_path, image.mask_path) for image in listing.images] == [
        ("a=b/train/good/1.png", None),
        ("a=b/test/cut/2.png", "a=b/ground_truth/cut/2_mask.png"),
        ("x%20y/test/good/3.png", None),
    ]
