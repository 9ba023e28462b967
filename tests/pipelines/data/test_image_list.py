"""Lists of images: their rows, and one-line errors for invalid lists and rows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from pipelines.data.dataset import Listing, list_images
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.pipelines.runs import BACKBONES, call, rows_of, save, texture, with_defect
from tests.pipelines.trees import COLUMNS, fields_by_path, look, make_list, touch, write_csv


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
        "m/6.png: the mask does not exist. The image is used without it.",
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


def rows_of_list(root: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> Listing:
    """Return the listing of a CSV file with a good training image t.png and the given rows."""
    touch(root, "t.png")
    return look(
        write_csv(root / "list.csv", [("t.png", "nut", "train", "0", *[""] * (len(columns) - 4)), *rows], columns)
    )


def test_an_image_can_have_several_masks_in_one_cell_or_in_several_rows(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "m/1.png", "m/2.png", "m/3.png")
    listing = rows_of_list(
        tmp_path,
        [
            ("a.png", "nut", "test", "bent", "m/1.png; m/2.png;"),
            ("b.png", "nut", "test", "bent", "m/1.png"),
            ("./b.png", "nut", "test", "bent", "m/3.png"),
            ("b.png", "nut", "test", "bent", ""),
        ],
    )
    masks = {image.image_path: image.mask_paths for image in listing.images}
    assert masks == {"t.png": (), "a.png": ("m/1.png", "m/2.png"), "b.png": ("m/1.png", "m/3.png")}
    assert listing.warnings == ()


def test_one_of_several_masks_can_be_missing(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "m/2.png")
    listing = rows_of_list(tmp_path, [("a.png", "nut", "test", "bent", "m/1.png;m/2.png")])
    assert listing.images[0].mask_paths == ("m/2.png",)
    assert listing.warnings == ("m/1.png: the mask does not exist. The image is used without it.",)


@pytest.mark.parametrize("word", ["validation", "val", "valid", "Val"])
def test_validation_images_are_good(tmp_path: Path, word: str) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png", "m.png")
    rows = [("a.png", "nut", word, "0", ""), ("b.png", "nut", word, "", ""), ("c.png", "nut", word, "bent", "m.png")]
    listing = rows_of_list(tmp_path, rows)
    assert fields_by_path(listing) == {
        "a.png": ("nut", "validation", "good", 0, None),
        "b.png": ("nut", "validation", "good", 0, None),
        "c.png": ("nut", "test", "bent", 1, "m.png"),
        "t.png": ("nut", "train", "good", 0, None),
    }
    assert listing.warnings == ("c.png: used as test images, because validation images must be good.",)


def test_a_list_can_name_workpieces_and_views(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    rows = [("a.png", "nut", "test", "0", "7", "top"), ("b.png", "nut", "test", "0", "7", "")]
    listing = rows_of_list(tmp_path, rows, ("path", "category", "split", "label", "part_id", "view"))
    parts = {image.image_path: (image.part_id, image.view) for image in listing.images}
    assert parts == {"a.png": ("7", "top"), "b.png": ("7", None), "t.png": (None, None)}


def test_other_names_of_columns(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "m.png", "t.png")
    columns = ("image_path", "category", "split", "label_index", "mask_path")
    rows = [("t.png", "nut", "train", "0", ""), ("a.png", "nut", "test", "1", "m.png")]
    data = Store.of_data(str(write_csv(tmp_path / "list.csv", rows, columns)))
    listing = list_images(data, columns="path=image_path, label=label_index,mask=mask_path")
    assert fields_by_path(listing)["a.png"] == ("nut", "test", "defect", 1, "m.png")
    with pytest.raises(UsageError, match=r"^--columns applies to a list of images, and --data .* is a folder\. Omit"):
        list_images(Store.of_data(str(tmp_path)), columns="path=image_path")


def test_a_list_can_name_files_outside_its_folder(tmp_path: Path) -> None:
    """Relative paths that leave the folder become absolute; absolute paths stay as they are, also below the folder."""
    touch(tmp_path, "lake/a.png", "lake/m/1.png", "list/b.png", "c.png")
    rows = [
        ("../lake/a.png", "nut", "test", "bent", "../lake/./m/1.png"),
        (f"{tmp_path}/list//b.png", "nut", "test", "0", ""),
        ("x/../../c.png", "nut", "test", "0", ""),
        ("x/../t.png", "nut", "train", "0", ""),
        ("../lake/gone.png", "nut", "test", "0", ""),
    ]
    listing = rows_of_list(tmp_path / "list", rows)
    assert fields_by_path(listing) == {
        f"{tmp_path}/lake/a.png": ("nut", "test", "bent", 1, f"{tmp_path}/lake/m/1.png"),
        f"{tmp_path}/lake/gone.png": ("nut", "test", "good", 0, None),
        f"{tmp_path}/list/b.png": ("nut", "test", "good", 0, None),
        f"{tmp_path}/c.png": ("nut", "test", "good", 0, None),
        "t.png": ("nut", "train", "good", 0, None),
    }
    assert [image.image_path for image in listing.images if not image.fingerprint] == [f"{tmp_path}/lake/gone.png"]


def test_two_spellings_of_a_path_are_one_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    rows = [("a.png", "nut", "test", "0", ""), (f"{tmp_path}/a.png", "nut", "test", "1", "")]
    with pytest.raises(UsageError, match=r"row 3: .*/a\.png is already listed in row 2, with label 'good' instead of"):
        rows_of_list(tmp_path, rows)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            ("b.png", "nut", "dev", "0", ""),
            r"list.csv, row 2: split 'dev' is not valid\. Use 'train', 'validation' or 'test'\.$",
        ),
        (("b.png", "nut", "", "0", ""), r"row 2: split '' is not valid"),
        (("b.png", "nut", "test", "2", ""), r"row 2: label '2' is not valid\. Use 0 \(good\), 1 \(defective\)"),
        (("b.png", "", "test", "0", ""), r"row 2: category '' is not valid\. It must not be empty"),
        (
            ("b.png", ".work", "test", "0", ""),
            r"row 2: category '.work' is not valid\. It must not be empty, begin with a dot",
        ),
        (("", "nut", "test", "0", ""), r"row 2: the path is empty\. Give the path of an image file\.$"),
        (
            ("s3://x/b.png", "nut", "test", "0", ""),
            r"row 2: path 's3://x/b\.png' is not valid: the list is on a disk\. Use a path on that disk\.$",
        ),
        (
            ("./a.png", "bolt", "train", "0", ""),
            r"row 2: a\.png is already listed in row 1, with category 'nut' instead of 'bolt'\. Rows of one image may "
            r"differ only in their masks\.$",
        ),
        (("a.png", "nut", "test", "0", ""), r"row 2: a\.png .* row 1, with split 'train' instead of 'test'\."),
        (("a.png", "nut", "train", "", ""), r"row 2: a\.png .* row 1, with label 'good' instead of ''\."),
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
        (
            "other.csv",
            b"path;category\na;b\n",
            "the header 'path;category' has no comma. Separate cells with commas.",
        ),
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


class TestObjectStore:
    """Lists in an object store; a local folder takes the place of the store."""

    @staticmethod
    def listed(root: Path, rows: Sequence[Sequence[str]], scheme: str = "s3") -> Listing:
        """Return the listing of lake/lists/list.csv in the bucket `lake`."""
        write_csv(root / "lake" / "lists" / "list.csv", rows)
        bucket = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem())
        return list_images(Store(bucket, "lake/lists", f"{scheme}://lake/lists?region=x", listed="list.csv"))

    def test_a_list_can_name_objects_of_its_bucket(self, tmp_path: Path) -> None:
        touch(tmp_path, "lake/lists/a.png", "lake/b.png", "lake/c/d.png", "lake/m.png")
        rows = [
            ("./a.png", "nut", "train", "0", ""),
            ("../b.png", "nut", "test", "0", ""),
            ("s3://lake/c/d.png", "nut", "test", "bent", "s3://lake/m.png"),
        ]
        assert fields_by_path(self.listed(tmp_path, rows)) == {
            "a.png": ("nut", "train", "good", 0, None),
            "s3://lake/b.png": ("nut", "test", "good", 0, None),
            "s3://lake/c/d.png": ("nut", "test", "bent", 1, "s3://lake/m.png"),
        }

    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            (
                "/lake/a.png",
                "row 1: path '/lake/a.png' is not valid: the list is in an object store. Use a path relative",
            ),
            (
                "s3://other/a.png",
                "is neither below the list nor an s3:// or gs:// URI of its bucket. Put the list above the images.",
            ),
            ("gs://lake/a.png", "path 'gs://lake/a.png' is not valid: it is neither below the list nor an"),
            (
                "../../a.png",
                "path '../../a.png' is not valid: it is neither below the list nor an",
            ),
        ],
    )
    def test_a_path_outside_the_bucket_is_an_error(self, tmp_path: Path, path: str, sentence: str) -> None:
        with pytest.raises(UsageError, match=re.escape(sentence)):
            self.listed(tmp_path, [(path, "nut", "train", "0", "")])

    def test_a_full_path_needs_a_uri_that_begins_with_the_bucket(self, tmp_path: Path) -> None:
        touch(tmp_path, "lake/lists/a.png", "lake/b.png")
        listing = self.listed(tmp_path, [("a.png", "nut", "train", "0", "")], "abfs")
        assert [image.image_path for image in listing.images] == ["a.png"]
        with pytest.raises(UsageError, match=r"path '../b\.png' is not valid: it is neither below the list nor an"):
            self.listed(tmp_path, [("../b.png", "nut", "train", "0", "")], "abfs")


RECIPE = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0", "--coreset", "0.05")


@pytest.mark.slow
def test_a_run_on_a_list(tmp_path: Path) -> None:
    """Score the images of a list with a missing image, score again after a corrected label, and evaluate the run.

    The images are in the folder of the list and in another one, with relative and absolute paths.
    """
    rows: list[tuple[str, ...]] = []
    lake = f"{tmp_path}/lake"
    for number in range(12):
        save(tmp_path / "lake" / f"{number}.png", texture(number))
        rows.append((f"{lake}/{number}.png", "line 1/nut", "train", "good", ""))
    for number in range(3):
        picture, truth = with_defect(texture(100 + number), 40, 50)
        save(tmp_path / "lake" / "new" / f"{number}.png", picture)
        save(tmp_path / "lists" / "masks" / f"{number}.png", truth)
        save(tmp_path / "lists" / f"good {number}.png", texture(200 + number))
        rows.append((f"../lake/new/{number}.png", "line 1/nut", "test", "blot", f"masks/{number}.png"))
        rows.append((f"good {number}.png", "line 1/nut", "test", "good", ""))
    rows.append((f"{lake}/gone.png", "line 1/nut", "test", "good", ""))
    data = str(write_csv(tmp_path / "lists" / "list.csv", rows))
    done = call("ensemble", "--data", data, "--out", str(tmp_path / "run"), *RECIPE)
    assert done.code == 0, done.stderr
    assert "layout   list" in done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["layout"] == "list"
    (failure,) = rows_of(tmp_path / "run" / "failures.parquet")
    assert failure["image_path"] == f"{lake}/gone.png"
    (scored,) = (tmp_path / "run" / "scores" / "fused").iterdir()
    assert scored.name == "line 1%2Fnut.parquet"
    assert {row["defect"] for row in rows_of(scored)} == {"good", "blot"}
    (before, _) = rows_of(tmp_path / "run" / "metrics.parquet")
    assert (before["n_good"], before["n_defect"]) == (3, 3)
    assert before["pixel_auroc"] > 0.9
    (bank,) = (tmp_path / "run" / "models").rglob("memory_bank.safetensors")
    written = bank.stat().st_mtime_ns

    write_csv(tmp_path / "lists" / "list.csv", [(*row[:3], "dent", "") if "good 0" in row[0] else row for row in rows])
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
