"""From folders to an index: MVTec AD's layout, masks paired by stem, odd files named and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.config import UsageError
from pipelines.dataset import Image, cut_chunks, examine, list_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def listed(root: Path) -> dict[str, Image]:
    return {image.image_path: image for image in list_images(root).images}


def test_splits_defects_and_labels_come_from_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/good/b.png", "nut/test/bent/c.png")
    images = listed(tmp_path)
    assert {path: (i.split, i.part, i.defect, i.label) for path, i in images.items()} == {
        "nut/train/good/a.png": ("train", "fit", "good", 0),
        "nut/test/good/b.png": ("test", None, "good", 0),
        "nut/test/bent/c.png": ("test", None, "bent", 1),
    }


def test_train_good_alone_is_a_category(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    assert list_images(tmp_path).categories == ("nut",)


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"nut/train/good/{name}" for name in ("a.PNG", "b.Jpg", "c.JPEG", "d.bmp", "e.TIF", "f.tiff", "g.webp")),
    )
    assert len(list_images(tmp_path).images) == 7


def test_hidden_and_foreign_files_are_passed_over_without_a_word(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/.b.png", "nut/train/good/Thumbs.db", "LICENSE.txt")
    touch(tmp_path, ".cache/train/good/x.png", "notes/readme.md", "nut/test/.hidden/x.png")
    (tmp_path / "nut/test/empty").mkdir(parents=True)
    listing = list_images(tmp_path)
    assert [image.image_path for image in listing.images] == ["nut/train/good/a.png"]
    assert listing.warnings == ()


def test_kinds_of_image_that_are_not_read_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/good/b.GIF")
    assert list_images(tmp_path).warnings == ("nut/train/good/b.GIF: .gif images are not read; convert it to PNG.",)


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
    listing = list_images(tmp_path)
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
    assert list_images(tmp_path).categories == ("a=b", "lot#7", "x y", "x%20y", "zebra")
    assert list_images(tmp_path, ["x y"]).categories == ("x y",)


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
        list_images(tmp_path / root, categories)


def test_an_image_is_hashed_and_measured(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a/b.png")
    os.utime(tmp_path / "a/b.png", ns=(0, 1234))
    image, error = examine(tmp_path, Image("a", "train", "good", "a/b.png"))
    assert error is None
    assert (image.height, image.width) == (20, 30)
    assert image.content_sha256 is not None
    assert len(image.content_sha256) == 64
    assert image.fingerprint == f"{(tmp_path / 'a/b.png').stat().st_size}-1234"


@pytest.mark.parametrize("content", [b"", b"text, not a picture", None])
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "b.png").write_bytes(content)
    image, error = examine(tmp_path, Image("a", "train", "good", "b.png"))
    assert image.width is None
    assert error


def test_chunks_hold_one_category_and_one_split_each_in_order() -> None:
    images = [Image("a", "train", "good", f"a/{n}") for n in range(5)] + [
        Image("a", "test", "good", f"a/t{n}") for n in range(3)
    ]
    images += [Image("b", "train", "good", "b/0")]
    chunks = cut_chunks(images, "net", 2)
    assert [(c.category, c.split, c.number, c.paths) for c in chunks] == [
        ("a", "train", 0, ("a/0", "a/1")),
        ("a", "train", 1, ("a/2", "a/3")),
        ("a", "train", 2, ("a/4",)),
        ("a", "test", 3, ("a/t0", "a/t1")),
        ("a", "test", 4, ("a/t2",)),
        ("b", "train", 0, ("b/0",)),
    ]
