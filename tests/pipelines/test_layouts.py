"""Layouts: each is found by itself, and says of its images the split, the defect, the label and the mask."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from pipelines.config import UsageError
from pipelines.dataset import Listing, as_new, find_categories, list_images
from pipelines.layouts import LAYOUTS
from pipelines.storage import Store
from tests.pipelines.nights import Factory
from tests.pipelines.runs import BACKBONES, call, save, texture, with_defect


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def mask(path: Path, *, defective: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:4, 2:4] = defective
    Pillow.fromarray(pixels).save(path)


def look(data: Path, *categories: str, layout: str = "auto") -> Listing:
    return list_images(Store.of_data(str(data)), categories, layout)


def told(listing: Listing) -> dict[str, tuple[Any, ...]]:
    """image_path → category, split, defect, label, mask_path."""
    return {i.image_path: (i.category, i.split, i.defect, i.label, i.mask_path) for i in listing.images}


def make_mvtec(root: Path) -> None:
    touch(root, "nut/train/good/a.png", "nut/test/bent/b.png", "nut/ground_truth/bent/b_mask.png")


def make_btad(root: Path) -> None:
    for category, image, masked in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        touch(root, *(f"{category}/{place}/0000.{image}" for place in ("train/ok", "test/ok", "test/ko")))
        touch(root, f"{category}/ground_truth/ko/0000.{masked}")


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


COLUMNS = ("path", "category", "split", "label", "mask")
ROWS = [
    ("a/1.png", "line 1/nut", "train", "0", ""),
    ("a/2.png", "line 1/nut", "test", "good", "m/2.png"),
    ("./a//3.png", "line 1/nut", "Test", "bent", "m/3.png"),
    ("4.png", "004711", "train", "", ""),
    ("5.png", "004711", "test", "", ""),
    ("6.png", "004711", "test", "1.0", "m/6.png"),
    ("7.png", "004711", "train", "scratch", ""),
]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # the mark that Excel writes
        csv.writer(file).writerows([columns, *rows])
    return path


def make_list(root: Path) -> None:
    touch(root, *(f"a/{n}.png" for n in (1, 2, 3)), *(f"{n}.png" for n in (4, 5, 6, 7)), "m/2.png", "m/3.png")
    write_csv(root / "list.csv", ROWS)


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
    """A tree of a layout, and what is given as --data."""
    MAKERS[layout](tmp_path / "root")
    return tmp_path / "root" / "list.csv" if layout == "list" else tmp_path / "root"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_found_by_itself_or_named(tmp_path: Path, layout: str) -> None:
    data = made(tmp_path, layout)
    found = look(data)
    assert (found.layout, found.categories) == (layout, CATEGORIES[layout])
    assert look(data, layout=layout) == found
    assert find_categories(Store.of_data(str(data))) == list(CATEGORIES[layout])
    assert {image.category for image in found.images} == set(CATEGORIES[layout])
    assert all(image.fingerprint for image in found.images)
    last = CATEGORIES[layout][-1]
    assert look(data, last).images == tuple(image for image in found.images if image.category == last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("named", LAYOUTS)
def test_no_layout_takes_anothers_images_for_its_own(tmp_path: Path, layout: str, named: str) -> None:
    data = made(tmp_path, layout)
    if named != layout:
        with pytest.raises(UsageError, match=r"^(--data|--layout) "):
            look(data, layout=named)


def test_btad(tmp_path: Path) -> None:
    make_btad(tmp_path)
    touch(tmp_path, "03/ground_truth/ok/0000.bmp", "03/ground_truth/ko/0009.bmp")
    found = look(tmp_path)
    assert found.warnings == ("03/ground_truth/ko/0009.bmp: no image of that stem in 03/test/ko; it is not used.",)
    assert told(look(tmp_path, "03")) == {
        "03/train/ok/0000.bmp": ("03", "train", "good", 0, None),
        "03/test/ok/0000.bmp": ("03", "test", "good", 0, None),
        "03/test/ko/0000.bmp": ("03", "test", "ko", 1, "03/ground_truth/ko/0000.bmp"),
    }
    assert told(found)["01/test/ko/0000.bmp"][-1] == "01/ground_truth/ko/0000.png"


def test_where_good_is_called_good_somewhere_it_is_mvtecs_layout(tmp_path: Path) -> None:
    touch(tmp_path, "a/train/ok/1.png", "b/train/good/1.png", "c/test/good/1.png")
    assert (look(tmp_path).layout, set(told(look(tmp_path)))) == (
        "mvtec",
        {"b/train/good/1.png", "c/test/good/1.png"},
    )


def test_visa(tmp_path: Path) -> None:
    make_visa(tmp_path)
    touch(tmp_path, "candle/Data/Images/Normal/0999.JPG")  # not of this split
    found = look(tmp_path)
    assert found.warnings == ()
    normal, anomaly = "candle/Data/Images/Normal", "candle/Data/Images/Anomaly"
    assert told(found) == {
        f"{normal}/0000.JPG": ("candle", "test", "good", 0, None),
        f"{normal}/0001.JPG": ("candle", "train", "good", 0, None),
        f"{anomaly}/000.JPG": ("candle", "test", "anomaly", 1, "candle/Data/Masks/Anomaly/000.png"),
    }


def test_kolektorsdd(tmp_path: Path) -> None:
    make_kolektorsdd(tmp_path)
    touch(tmp_path, "kos03/Part7.jpg", "kos03/Part8_label.bmp", "kos03/Part9.jpg", "kos03/Part9_label.bmp")
    found = look(tmp_path)
    assert told(found) == {
        **{
            f"kos{item:02d}/Part{part}.jpg": ("kolektorsdd", "test" if item == 5 else "train", "good", 0, None)
            for item in range(1, 7)
            for part in range(2)
        },
        "kos02/Part1.jpg": ("kolektorsdd", "test", "defect", 1, "kos02/Part1_label.bmp"),
    }
    strays, unreadable = found.warnings
    assert strays.startswith("kos03/Part7.jpg, kos03/Part8_label.bmp: ")
    assert unreadable.startswith("kos03/Part9_label.bmp: ")
    assert unreadable.endswith("Its image is left out.")


def test_kolektorsdd2(tmp_path: Path) -> None:
    make_kolektorsdd2(tmp_path)
    found = look(tmp_path)
    assert told(found) == {
        "train/10000.png": ("kolektorsdd2", "train", "good", 0, None),
        "test/20000.png": ("kolektorsdd2", "test", "good", 0, None),
        "test/20001.png": ("kolektorsdd2", "test", "defect", 1, "test/20001_GT.png"),
    }
    strays, left_out = found.warnings  # the archive has two copies
    assert strays.startswith("train/10000 (copy).png, train/10000_GT (copy).png: ")
    assert left_out == "train/10001.png: defective, and left out of train."


def test_plain_folders(tmp_path: Path) -> None:
    make_folders(tmp_path)
    touch(tmp_path, "nut/ground_truth/bent/z.png", "nut/good/b.gif", "nut/good/.c.png")
    found = look(tmp_path)
    assert told(found) == {
        "bolt/OK/a.png": ("bolt", "train", "good", 0, None),
        "nut/good/a.png": ("nut", "train", "good", 0, None),
        "nut/bent/b.png": ("nut", "test", "bent", 1, "nut/ground_truth/bent/b_mask.png"),
        "nut/scratch/deep/c.png": ("nut", "test", "scratch", 1, None),
    }
    assert [sentence.partition(":")[0] for sentence in found.warnings] == [
        "nut/ground_truth/bent/z.png",
        "nut/good/b.gif",
    ]


def test_a_root_may_be_the_category_and_has_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png", "nut/bent/b.png", "nut/masks/bent/b.png")
    assert told(look(tmp_path / "nut")) == {
        "good/a.png": ("nut", "train", "good", 0, None),
        "bent/b.png": ("nut", "test", "bent", 1, "masks/bent/b.png"),
    }


def test_a_category_of_mvtecs_layout_is_no_root_of_plain_folders(tmp_path: Path) -> None:
    make_mvtec(tmp_path)
    touch(tmp_path, "nut/test/good/c.png")
    with pytest.raises(UsageError, match="no category in it"):
        look(tmp_path / "nut")


def test_a_list(tmp_path: Path) -> None:
    make_list(tmp_path)
    found = look(tmp_path / "list.csv")
    assert told(found) == {
        "a/1.png": ("line 1/nut", "train", "good", 0, None),
        "a/2.png": ("line 1/nut", "test", "good", 0, None),
        "a/3.png": ("line 1/nut", "test", "bent", 1, "m/3.png"),
        "4.png": ("004711", "train", "good", 0, None),
        "5.png": ("004711", "test", None, None, None),
        "6.png": ("004711", "test", "defect", 1, None),
    }
    assert found.warnings == (
        "7.png: defective by list.csv, and left out of train.",
        "m/6.png: a mask that is not there; the image has none.",
    )


def test_a_list_may_be_parquet_with_columns_of_numbers_and_gaps(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png", "3.png", "4.png")
    columns = {"path": ["1.png", "2.png", "3.png", "4.png"], "category": [4711] * 4}
    columns |= {"split": ["train", "test", "test", "test"], "label": [0.0, 1.0, None, float("nan")], "more": [1] * 4}
    pq.write_table(pa.table(columns), tmp_path / "list.PARQUET")
    found = look(tmp_path / "list.PARQUET")
    assert found.categories == ("4711",)
    assert [image.label for image in found.images] == [0, 1, None, None]
    pq.write_table(pa.table({**columns, "label": [False, True, None, None]}), tmp_path / "bool.parquet")
    assert [image.label for image in look(tmp_path / "bool.parquet").images] == [0, 1, None, None]


def test_a_list_is_found_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_list(tmp_path)
    monkeypatch.chdir(tmp_path)
    store = Store.of_data("list.csv")
    assert (store.root, store.listed) == (str(tmp_path.resolve()), "list.csv")
    assert Store.of_data(str(tmp_path)).listed == ""
    assert len(list_images(store).images) == 6


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("b.png", "nut", "val", "0", ""), r"list.csv, row 2: split 'val' is neither train nor test\.$"),
        (("b.png", "nut", "", "0", ""), r"row 2: split '' is neither"),
        (("b.png", "nut", "test", "2", ""), r"row 2: label '2' is neither 0 \(good\) nor 1"),
        (("b.png", "", "test", "0", ""), r"row 2: category '': give a name"),
        (("b.png", ".work", "test", "0", ""), r"row 2: category '.work': give a name"),
        (("", "nut", "test", "0", ""), r"row 2: path '': give one below the list's folder"),
        (("../b.png", "nut", "test", "0", ""), r"row 2: path '\.\./b\.png': give one below the list's folder"),
        (("a/../../b.png", "nut", "test", "0", ""), r"row 2: path .* without '\.\.'"),
        (("/data/b.png", "nut", "test", "0", ""), r"row 2: path '/data/b\.png': give one below"),
        (("s3://x/b.png", "nut", "test", "0", ""), r"row 2: path 's3://x/b\.png': give one below"),
        (("b.png", "nut", "test", "1", "../m.png"), r"row 2: path '\.\./m\.png': give one below"),
        (("./a.png", "bolt", "test", "0", ""), r"row 2: a\.png is listed in row 1 already"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_sentence(tmp_path: Path, row: tuple[str, ...], sentence: str) -> None:
    touch(tmp_path, "a.png", "b.png")
    write_csv(tmp_path / "list.csv", [("a.png", "nut", "train", "0", ""), row])
    with pytest.raises(UsageError, match=sentence) as raised:
        look(tmp_path / "list.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.csv", None, "none.csv: there is no such file"),
        ("none.parquet", None, "none.parquet: there is no such file"),
        ("empty.csv", b"", "has no column path, category, split, label; it needs .*, and has none"),
        ("other.csv", b"path;category\na;b\n", "has no column path, .*, may have mask, and has path;category"),
        ("rowless.csv", b"path,category,split,label\n", "rowless.csv: lists no image"),
        ("binary.csv", b"\xff\xfe\x00\x01", "binary.csv: is no CSV in UTF-8"),
        ("binary.parquet", b"\xff\xfe\x00\x01", "binary.parquet: is no Parquet"),
        ("moved.csv", b"path,category,split,label\nold/a.png,nut,train,0\n", "none of the 1 images of nut is there"),
    ],
)
def test_what_is_wrong_with_a_list_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        look(tmp_path / name)


def test_an_image_that_is_gone_is_no_end_of_the_others(tmp_path: Path) -> None:
    rows = [
        ("a.png", "nut", "train", "0", ""),
        ("gone.png", "nut", "test", "0", ""),
        ("x.png", "bolt", "test", "0", ""),
    ]
    touch(tmp_path, "a.png")
    found = look(write_csv(tmp_path / "list.csv", rows))
    assert [(image.image_path, bool(image.fingerprint)) for image in found.images] == [
        ("a.png", True),
        ("gone.png", False),
    ]
    assert found.warnings[0].startswith("none of the 1 images of bolt is there, x.png for one")


def test_a_tested_image_is_a_new_one_without_its_mask(tmp_path: Path) -> None:
    make_btad(tmp_path)
    image = next(image for image in look(tmp_path).images if image.mask_path)
    new = as_new(image)
    assert (new.split, new.mask_path, new.defect, new.label) == ("new", None, "ko", 1)
    assert image.fingerprint is not None
    assert new.fingerprint == image.fingerprint.partition("|")[0]


@pytest.mark.parametrize("layout", ["btad", "kolektorsdd", "list"])
def test_layouts_are_found_in_an_object_store(tmp_path: Path, bucket: str, layout: str) -> None:
    data = made(tmp_path, layout)
    local = Store.of(str(tmp_path / "root"))
    base, query = bucket.split("?")
    remote = Store.of(bucket).below("layouts").below(f"{layout} x")
    for info in local.files():
        remote.write(local.name_of(info), local.read(local.name_of(info)))
    name = "/list.csv" if layout == "list" else ""
    found = list_images(Store.of_data(f"{base}/layouts/{layout}%20x{name}?{query}"))
    assert found.layout == layout
    assert told(found) == told(look(data))


RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0", "--coreset", "0.05")


def test_a_run_of_a_list(tmp_path: Path) -> None:
    """From a list to scores; an image that is gone; a label that is corrected; what `evaluate` makes of it."""
    rows: list[tuple[str, ...]] = []
    for number in range(12):
        save(tmp_path / "lake" / f"{number}.png", texture(number))
        rows.append((f"lake/{number}.png", "line 1/nut", "train", "good", ""))
    for number in range(3):
        picture, truth = with_defect(texture(100 + number), 40, 50)
        save(tmp_path / "lake" / "new" / f"{number}.png", picture)
        save(tmp_path / "masks" / f"{number}.png", truth)
        save(tmp_path / "lake" / "new" / f"good {number}.png", texture(200 + number))
        rows.append((f"lake/new/{number}.png", "line 1/nut", "test", "blot", f"masks/{number}.png"))
        rows.append((f"lake/new/good {number}.png", "line 1/nut", "test", "good", ""))
    rows.append(("lake/gone.png", "line 1/nut", "test", "good", ""))
    data = str(write_csv(tmp_path / "list.csv", rows))
    done = call("ensemble", "--data", data, "--out", str(tmp_path / "run"), *RECIPE)
    assert done.code == 0, done.stderr
    assert "layout   list" in done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["layout"] == "list"
    (failure,) = pq.read_table(tmp_path / "run" / "failures.parquet").to_pylist()
    assert failure["image_path"] == "lake/gone.png"
    (scored,) = (tmp_path / "run" / "scores" / "fused").iterdir()
    assert scored.name == "line 1%2Fnut.parquet"
    assert {row["defect"] for row in pq.read_table(scored).to_pylist()} == {"good", "blot"}
    (before, _) = pq.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()
    assert (before["n_good"], before["n_defect"]) == (3, 3)
    assert before["pixel_auroc"] > 0.9
    (bank,) = (tmp_path / "run" / "models").rglob("memory_bank.safetensors")
    written = bank.stat().st_mtime_ns

    write_csv(tmp_path / "list.csv", [(*row[:3], "dent", "") if "good 0" in row[0] else row for row in rows])
    again = call("ensemble", "--data", data, "--out", str(tmp_path / "run"), *RECIPE)
    assert again.code == 0, again.stderr
    assert bank.stat().st_mtime_ns == written
    (after, _) = pq.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()
    assert (after["n_good"], after["n_defect"]) == (2, 4)
    (members,) = (tmp_path / "run" / "scores" / "members").rglob("*.parquet")
    for file in (scored, members):
        (row,) = (row for row in pq.ParquetFile(file).read().to_pylist() if "good 0" in row["image_path"])
        assert (row["defect"], row["label"]) == ("dent", 1)

    evaluated = call("evaluate", "--run", str(tmp_path / "run"))
    assert evaluated.code == 0, evaluated.stderr
    assert pq.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()[0] == after


def test_a_night_judges_what_the_layout_calls_test(tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    for number in range(12):
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
    assert (second.told["cloth"]["learned"], second.judged_now("cloth")) == ("unchanged", set())
