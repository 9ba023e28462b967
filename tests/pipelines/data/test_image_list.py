"""Lists of images: their rows, and one-line errors for invalid lists and rows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.dataset import list_images
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.pipelines.runs import BACKBONES, call, rows_of, save, texture, with_defect
from tests.pipelines.trees import fields_by_path, look, make_list, touch, write_csv


def test_the_rows_of_a_list_become_images(tmp_path: Path) -> None:
    make_list(tmp_path)
    listing = look(tmp_path / "list.csv")
    assert fields_by_path(listing) == {
        "a/1.png": ("line 1/nut", "train", "good", 0, None),
        "a/2.png": ("line 1/nut", "test", "good", 0, None),
        "a/3.png": ("line 1/nut", "test", "bent", 1, "m/3.png"),
        "4.png": ("004711", "train", "good", 0, None),
        "5.png": ("004711", "test", None, None, None),
        "6.png": ("004711", "test", "defect", 1, None),
    }
    assert listing.warnings == (
        "7.png: excluded from training, because the label in list.csv is defective.",
        "m/6.png: the mask does not exist. The image is used without a mask.",
    )


def test_a_list_can_be_parquet_with_numbers_and_nulls(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png", "3.png", "4.png")
    columns = {"path": ["1.png", "2.png", "3.png", "4.png"], "category": [4711] * 4}
    columns |= {"split": ["train", "test", "test", "test"], "label": [0.0, 1.0, None, float("nan")], "more": [1] * 4}
    pq.write_table(pa.table(columns), tmp_path / "list.PARQUET")
    listing = look(tmp_path / "list.PARQUET")
    assert listing.categories == ("4711",)
    assert [image.label for image in listing.images] == [0, 1, None, None]
    pq.write_table(pa.table({**columns, "label": [False, True, None, None]}), tmp_path / "bool.parquet")
    assert [image.label for image in look(tmp_path / "bool.parquet").images] == [0, 1, None, None]


def test_the_path_of_a_list_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_list(tmp_path)
    monkeypatch.chdir(tmp_path)
    store = Store.of_data("list.csv")
    assert (store.root, store.listed) == (str(tmp_path.resolve()), "list.csv")
    assert Store.of_data(str(tmp_path)).listed == ""
    assert len(list_images(store).images) == 6


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("b.png", "nut", "val", "0", ""), r"list.csv, row 2: split 'val' is not valid\. Use 'train' or 'test'\.$"),
        (("b.png", "nut", "", "0", ""), r"row 2: split '' is not valid"),
        (("b.png", "nut", "test", "2", ""), r"row 2: label '2' is not valid\. Use 0 \(good\), 1 \(defective\)"),
        (("b.png", "", "test", "0", ""), r"row 2: category '' is not valid\. It must not be empty"),
        (
            ("b.png", ".work", "test", "0", ""),
            r"row 2: category '.work' is not valid\. It must not be empty, begin with a dot",
        ),
        (("", "nut", "test", "0", ""), r"row 2: path '' is not valid\. Use a path below the folder of the list"),
        (("../b.png", "nut", "test", "0", ""), r"row 2: path '\.\./b\.png' is not valid\. Use a path below the folder"),
        (("a/../../b.png", "nut", "test", "0", ""), r"row 2: path .* without '\.\.'"),
        (("/data/b.png", "nut", "test", "0", ""), r"row 2: path '/data/b\.png' is not valid\. Use a path below"),
        (("s3://x/b.png", "nut", "test", "0", ""), r"row 2: path 's3://x/b\.png' is not valid\. Use a path below"),
        (("b.png", "nut", "test", "1", "../m.png"), r"row 2: path '\.\./m\.png' is not valid\. Use a path below"),
        (("./a.png", "bolt", "test", "0", ""), r"row 2: a\.png is already listed in row 1\."),
    ],
)
def test_the_error_for_an_invalid_row_is_one_line(tmp_path: Path, row: tuple[str, ...], sentence: str) -> None:
    touch(tmp_path, "a.png", "b.png")
    write_csv(tmp_path / "list.csv", [("a.png", "nut", "train", "0", ""), row])
    with pytest.raises(UsageError, match=sentence) as raised:
        look(tmp_path / "list.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.csv", None, "none.csv: the file does not exist"),
        ("none.parquet", None, "none.parquet: the file does not exist"),
        ("empty.csv", b"", r"missing column: path, category, split, label\. Required: .*; found: none\.$"),
        ("other.csv", b"path;category\na;b\n", "missing column: path, .*; optional: mask; found: path;category"),
        ("rowless.csv", b"path,category,split,label\n", "rowless.csv: the list contains no image"),
        ("binary.csv", b"\xff\xfe\x00\x01", "binary.csv is not a CSV file in UTF-8"),
        ("binary.parquet", b"\xff\xfe\x00\x01", "binary.parquet is damaged or not a Parquet file"),
        (
            "moved.csv",
            b"path,category,split,label\nold/a.png,nut,train,0\n",
            "moved.csv: nut: none of the 1 listed images exists",
        ),
    ],
)
def test_an_invalid_list_is_an_error(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        look(tmp_path / name)


def test_a_missing_image_does_not_affect_the_others(tmp_path: Path) -> None:
    rows = [
        ("a.png", "nut", "train", "0", ""),
        ("gone.png", "nut", "test", "0", ""),
        ("x.png", "bolt", "test", "0", ""),
    ]
    touch(tmp_path, "a.png")
    listing = look(write_csv(tmp_path / "list.csv", rows))
    assert [(image.image_path, bool(image.fingerprint)) for image in listing.images] == [
        ("a.png", True),
        ("gone.png", False),
    ]
    assert listing.warnings[0].startswith("bolt: none of the 1 listed images exists, for example x.png.")


@pytest.mark.parametrize("path", ["a/\0b.png", f"{'x' * 256}/b.png", f"a/{'é' * 126}.png"])
def test_the_error_for_an_impossible_path_contains_the_row(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "a.png")
    table = {"path": ["a.png", path], "category": ["nut"] * 2, "split": ["train"] * 2, "label": ["0"] * 2}
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    with pytest.raises(
        UsageError, match=r"row 2: path '.* is not valid\. Names must have at most 255 bytes and no NUL character\."
    ):
        list_images(Store.of_data(str(tmp_path / "list.parquet")))


@pytest.mark.parametrize("category", ["..", "a/../b"])
def test_a_category_that_leads_out_of_the_root_is_rejected(tmp_path: Path, category: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text(f"path,category,split,label\na.png,{category},train,0\n")
    with pytest.raises(UsageError, match=r"row 1: category '.*' is not valid"):
        list_images(Store.of_data(str(tmp_path / "list.csv")))


RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0", "--coreset", "0.05")


@pytest.mark.slow
def test_a_run_on_a_list(tmp_path: Path) -> None:
    """Score the images of a list with a missing image, score again after a corrected label, and evaluate the run."""
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
    (failure,) = rows_of(tmp_path / "run" / "failures.parquet")
    assert failure["image_path"] == "lake/gone.png"
    (scored,) = (tmp_path / "run" / "scores" / "fused").iterdir()
    assert scored.name == "line 1%2Fnut.parquet"
    assert {row["defect"] for row in rows_of(scored)} == {"good", "blot"}
    (before, _) = rows_of(tmp_path / "run" / "metrics.parquet")
    assert (before["n_good"], before["n_defect"]) == (3, 3)
    assert before["pixel_auroc"] > 0.9
    (bank,) = (tmp_path / "run" / "models").rglob("memory_bank.safetensors")
    written = bank.stat().st_mtime_ns

    write_csv(tmp_path / "list.csv", [(*row[:3], "dent", "") if "good 0" in row[0] else row for row in rows])
    again = call("ensemble", "--data", data, "--out", str(tmp_path / "run"), *RECIPE)
    assert again.code == 0, again.stderr
    assert bank.stat().st_mtime_ns == written
    (after, _) = rows_of(tmp_path / "run" / "metrics.parquet")
    assert (after["n_good"], after["n_defect"]) == (2, 4)
    (members,) = (tmp_path / "run" / "scores" / "members").rglob("*.parquet")
    for file in (scored, members):
        (row,) = (row for row in pq.ParquetFile(file).read().to_pylist() if "good 0" in row["image_path"])
        assert (row["defect"], row["label"]) == ("dent", 1)

    evaluated = call("evaluate", "--run", str(tmp_path / "run"))
    assert evaluated.code == 0, evaluated.stderr
    assert rows_of(tmp_path / "run" / "metrics.parquet")[0] == after
