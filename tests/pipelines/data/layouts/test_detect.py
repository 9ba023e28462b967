"""Directory layouts: detection, and split, defect, label and mask of their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.dataset import find_categories, list_images
from pipelines.data.layouts.detect import LAYOUTS
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.object_stores import copy_into
from tests.pipelines.nights import Factory
from tests.pipelines.runs import save, texture, with_defect
from tests.pipelines.trees import fields_by_path, look, make_list, touch, write_csv


def mask(path: Path, *, defective: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:4, 2:4] = defective
    Pillow.fromarray(pixels).save(path)


def make_mvtec(root: Path) -> None:
    touch(root, "nut/train/good/a.png", "nut/test/bent/b.png", "nut/ground_truth/bent/b_mask.png")


def make_btad(root: Path) -> None:
    for category, image_suffix, mask_suffix in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        touch(root, *(f"{category}/{folder}/0000.{image_suffix}" for folder in ("train/ok", "test/ok", "test/ko")))
        touch(root, f"{category}/ground_truth/ko/0000.{mask_suffix}")


def make_visa(root: Path) -> None:
    rows = [
        ("candle", "train", "normal", "candle/Data/Images/Normal/0001.JPG", ""),
        ("candle", "test", "normal", "candle/Data/Images/Normal/0000.JPG", ""),
        ("candle", "test", "anomaly", "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"),
        ("pcb1", "train", "normal", "pcb1/Data/Images/Normal/0001.JPG", ""),
    ]
    touch(root, *(name for row in rows[:3] for name in row[3:] if name), "candle/image_anno.csv", "LICENSE-DATASET")
    write_csv(root / "split_csv" / "1cls.csv", rows, ("object", "split", "label", "image", "mask"))


def make_kolektorsdd(root: Path) -> None:
    for item in range(1, 7):
        for part in range(2):
            touch(root, f"kos{item:02d}/Part{part}.jpg")
            mask(root / f"kos{item:02d}" / f"Part{part}_label.bmp", defective=(item, part) == (2, 1))


def make_kolektorsdd2(root: Path) -> None:
    touch(root, *(f"{name}.png" for name in ("train/10000", "train/10001", "test/20000", "test/20001")))
    for name, defective in (("train/10000", 0), ("train/10001", 1), ("test/20000", 0), ("test/20001", 1)):
        mask(root / f"{name}_GT.png", defective=bool(defective))
    touch(root, "train/10000 (copy).png", "train/10000_GT (copy).png", "split_weakly_0.pyb")


def make_folders(root: Path) -> None:
    touch(root, "nut/good/a.png", "nut/bent/b.png", "nut/scratch/deep/c.png", "nut/incoming/d.png", "nut/e.png")
    touch(root, "nut/ground_truth/bent/b_mask.png", "bolt/OK/a.png", "notes/readme.md", "nut/masters.txt")


MAKERS = {
    "mvtec": make_mvtec,
    "btad": make_btad,
    "visa": make_visa,
    "kolektorsdd": make_kolektorsdd,
    "kolektorsdd2": make_kolektorsdd2,
    "folders": make_folders,
    "list": make_list,
}
CATEGORIES = {
    "mvtec": ("nut",),
    "btad": ("01", "02", "03"),
    "visa": ("candle",),
    "kolektorsdd": ("kolektorsdd",),
    "kolektorsdd2": ("kolektorsdd2",),
    "folders": ("bolt", "nut"),
    "list": ("004711", "line 1/nut"),
}


def made(tmp_path: Path, layout: str) -> Path:
    """Create a tree in a layout; return the path for --data."""
    MAKERS[layout](tmp_path / "root")
    return tmp_path / "root" / "list.csv" if layout == "list" else tmp_path / "root"


@pytest.mark.parametrize("layout", MAKERS)
def test_a_layout_is_detected_or_given_by_name(tmp_path: Path, layout: str) -> None:
    data = made(tmp_path, layout)
    listing = look(data)
    assert (listing.layout, listing.categories) == (layout, CATEGORIES[layout])
    assert look(data, layout=layout) == listing
    assert find_categories(Store.of_data(str(data))) == list(CATEGORIES[layout])
    assert {image.category for image in listing.images} == set(CATEGORIES[layout])
    assert all(image.fingerprint for image in listing.images)
    last = CATEGORIES[layout][-1]
    assert look(data, last).images == tuple(image for image in listing.images if image.category == last)


@pytest.mark.parametrize("layout", MAKERS)
@pytest.mark.parametrize("named", LAYOUTS)
def test_data_in_another_layout_than_the_given_one_is_an_error(tmp_path: Path, layout: str, named: str) -> None:
    data = made(tmp_path, layout)
    if named != layout:
        with pytest.raises(UsageError, match=r"^(--data|--layout) "):
            look(data, layout=named)


def test_visa(tmp_path: Path) -> None:
    make_visa(tmp_path)
    touch(tmp_path, "candle/Data/Images/Normal/0999.JPG")  # not listed in the split file
    listing = look(tmp_path)
    assert listing.warnings == ()
    normal, anomaly = "candle/Data/Images/Normal", "candle/Data/Images/Anomaly"
    assert fields_by_path(listing) == {
        f"{normal}/0000.JPG": ("candle", "test", "good", 0, None),
        f"{normal}/0001.JPG": ("candle", "train", "good", 0, None),
        f"{anomaly}/000.JPG": ("candle", "test", "anomaly", 1, "candle/Data/Masks/Anomaly/000.png"),
    }


def test_kolektorsdd(tmp_path: Path) -> None:
    make_kolektorsdd(tmp_path)
    touch(tmp_path, "kos03/Part7.jpg", "kos03/Part8_label.bmp", "kos03/Part9.jpg", "kos03/Part9_label.bmp")
    listing = look(tmp_path)
    assert fields_by_path(listing) == {
        **{
            f"kos{item:02d}/Part{part}.jpg": ("kolektorsdd", "test" if item == 5 else "train", "good", 0, None)
            for item in range(1, 7)
            for part in range(2)
        },
        "kos02/Part1.jpg": ("kolektorsdd", "test", "defect", 1, "kos02/Part1_label.bmp"),
    }
    strays, unreadable = listing.warnings
    assert strays.startswith("kos03/Part7.jpg, kos03/Part8_label.bmp: excluded, because the image or its mask ")
    assert unreadable.startswith("kos03/Part9_label.bmp: ")
    assert unreadable.endswith(" The image is excluded.")


def test_kolektorsdd2(tmp_path: Path) -> None:
    make_kolektorsdd2(tmp_path)
    listing = look(tmp_path)
    assert fields_by_path(listing) == {
        "train/10000.png": ("kolektorsdd2", "train", "good", 0, None),
        "test/20000.png": ("kolektorsdd2", "test", "good", 0, None),
        "test/20001.png": ("kolektorsdd2", "test", "defect", 1, "test/20001_GT.png"),
    }
    strays, left_out = listing.warnings  # the archive of the dataset contains two such copies
    assert strays.startswith("train/10000 (copy).png, train/10000_GT (copy).png: ")
    assert left_out == "train/10001.png: excluded from training, because the mask is not black."


@pytest.mark.parametrize("layout", ["btad", "kolektorsdd", "list"])
def test_layouts_are_detected_in_an_object_store(tmp_path: Path, bucket: str, layout: str) -> None:
    data = made(tmp_path, layout)
    base, query = bucket.split("?")
    copy_into(str(tmp_path / "root"), f"{base}/layouts/{layout}%20x?{query}")
    name = "/list.csv" if layout == "list" else ""
    listing = list_images(Store.of_data(f"{base}/layouts/{layout}%20x{name}?{query}"))
    assert listing.layout == layout
    assert fields_by_path(listing) == fields_by_path(look(data))


@pytest.mark.slow
def test_a_nightly_run_scores_the_test_images_of_the_layout(tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    for number in range(3):
        save(factory.data / "cloth" / "ok" / f"{number}.png", texture(number))
    for number in range(2):
        save(factory.data / "cloth" / "blot" / f"{number}.png", with_defect(texture(100 + number), 40, 50)[0])
        save(factory.data / "nut" / "ok" / f"{number}.png", texture(300 + number))
        save(factory.data / "nut" / "incoming" / f"{number}.png", texture(400 + number))
    first = factory.night("--layout", "folders")
    assert first.done.code == 0, first.done.stderr
    assert {path: row["label"] for path, row in first.rows("cloth").items()} == {
        "cloth/blot/0.png": 1,
        "cloth/blot/1.png": 1,
    }
    assert {path: row["label"] for path, row in first.rows("nut").items()} == {
        "nut/incoming/0.png": None,
        "nut/incoming/1.png": None,
    }
    second = factory.night()
    assert (second.categories["cloth"]["learned"], second.scored_now("cloth")) == ("unchanged", set())
