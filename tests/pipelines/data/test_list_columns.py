"""Columns of image lists: option --columns, and errors that propose it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.list_columns import parse_columns, read_cells
from pipelines.errors import UsageError
from pipelines.storage.store import Store


def store_with(folder: Path, text: str) -> Store:
    """Return a folder with the file list.csv."""
    (folder / "list.csv").write_text(text)
    return Store.of(str(folder))


def test_the_option_names_columns() -> None:
    assert parse_columns(None) == {}
    assert parse_columns("label=label_index, mask = mask path") == {"label": "label_index", "mask": "mask path"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "lable=x",
            "^--columns lable=x: 'lable' is not a column of a list. Columns: path, category, split, label, mask,",
        ),
        ("label", "'label' is not COLUMN=NAME. Example: label=label_index,mask=mask_path."),
        ("label=", "'label=' is not COLUMN=NAME"),
        ("label=a,", "'' is not COLUMN=NAME"),
        ("label=a,label=b", "'label' is given twice. Give each column once."),
    ],
)
def test_an_invalid_option_is_an_error(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_columns(text)


def test_cells_are_text_under_the_names_of_this_project(tmp_path: Path) -> None:
    data = store_with(tmp_path, "file,category,split,label,more\n a.png ,007,train,0,x\n")
    cells = read_cells(data, "list.csv", {"path": "file"})
    assert cells.rows == [
        {"path": "a.png", "category": "007", "split": "train", "label": "0", "mask": "", "part_id": "", "view": ""}
    ]
    assert cells.warnings == ()


def test_a_column_that_the_list_does_not_have_is_an_error(tmp_path: Path) -> None:
    data = store_with(tmp_path, "path,category,split,label\n")
    with pytest.raises(UsageError, match=r"list\.csv has no column gt\. Found: path, category, split, label\.$"):
        read_cells(data, "list.csv", {"mask": "gt"})


def test_the_error_for_missing_columns_proposes_the_likely_ones(tmp_path: Path) -> None:
    data = store_with(tmp_path, "Image_Path,object,split,label_index,mask_path,anomaly_class\n")
    with pytest.raises(UsageError) as raised:
        read_cells(data, "list.csv", {})
    assert str(raised.value) == (
        f"{tmp_path}/list.csv: missing column: path, category, label. Required: path, category, split, label; "
        "optional: mask, part_id, view; found: Image_Path, object, split, label_index, mask_path, anomaly_class. "
        "To read columns under other names, give --columns "
        "path=Image_Path,category=object,label=label_index,mask=mask_path."
    )


def test_the_proposal_keeps_the_columns_that_are_given(tmp_path: Path) -> None:
    data = store_with(tmp_path, "image,object,split,kind\n")
    with pytest.raises(
        UsageError, match=r"missing column: path, category\..*--columns label=kind,path=image,category=obj"
    ):
        read_cells(data, "list.csv", {"label": "kind"})


def test_masks_under_another_name_are_not_ignored_silently(tmp_path: Path) -> None:
    columns = {name: ["x"] for name in ("path", "category", "split", "label", "mask_path")}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    cells = read_cells(Store.of(str(tmp_path)), "list.parquet", {})
    assert cells.warnings == (
        "list.parquet: column mask_path is not read. To read columns under other names, give --columns mask=mask_path.",
    )
    assert read_cells(Store.of(str(tmp_path)), "list.parquet", {"mask": "mask_path"}).warnings == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,category,split,label\na.png,nut,train\n", r"row 1: 3 cells, but the header has 4 columns"),
        ("path,category,split,label\na.png,nut,train,0\nb.png,nut,test,1,x\n", r"row 2: 5 cells, but the header has 4"),
        ("path,category,split,label,label\na.png,nut,train,bad,good\n", r"the column label occurs several times"),
        ("path\tcategory\tsplit\tlabel\n", r"has no comma\. Separate cells with commas\."),
    ],
)
def test_a_list_whose_cells_are_not_clear_is_an_error(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        read_cells(Store.of(str(tmp_path)), "list.csv", {})


def test_a_cell_of_several_masks_is_a_list_in_parquet(tmp_path: Path) -> None:
    row = {"path": "a.png", "category": "nut", "split": "test", "label": "bent", "mask": ["m/1.png", "m/2.png"]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "list.parquet")
    assert read_cells(Store.of(str(tmp_path)), "list.parquet", {}).rows[0]["mask"] == "m/1.png;m/2.png"
