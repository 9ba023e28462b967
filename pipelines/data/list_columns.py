"""Columns of image lists: their names, option `--columns` for other names, and the cells of CSV and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UsageError
from pipelines.storage.parquet import read_table
from pipelines.storage.store import Store

REQUIRED = ("path", "category", "split", "label")
OPTIONAL = ("mask", "part_id", "view")
COLUMNS = (*REQUIRED, *OPTIONAL)

# Names that other tools give to the columns, in lower case; an error or a warning proposes them for --columns.
_LIKELY = {
    "path": ("image_path", "image", "img_path", "filepath", "file_path", "filename", "file_name", "file", "imageid"),
    "category": ("object", "product", "category_name", "object_name", "class", "class_name"),
    "split": ("subset", "set", "partition", "phase"),
    "label": (
        "label_index",
        "anomaly_class",
        "is_anomaly",
        "anomaly",
        "defect",
        "label_name",
        "target",
        "is_defective",
    ),
    "mask": ("mask_path", "masks", "mask_file", "gt_path", "ground_truth"),
    "part_id": ("part", "sample_id", "sample", "serial_number", "workpiece"),
    "view": ("camera", "view_id", "camera_id"),
}


_OTHER_SEPARATORS = (";", "\t", "|")


@dataclass(frozen=True)
class Cells:
    """Cells of a list.

    Attributes:
        rows: Column of this project -> text, one mapping per row in the order of the list; columns that the list does
            not have are empty.
        warnings: Sentences about columns that are not read, although their names mean the same.
    """

    rows: Sequence[Mapping[str, str]]
    warnings: tuple[str, ...] = ()


def parse_columns(text: str | None) -> dict[str, str]:
    """Return the names that option --columns gives to the columns of a list.

    Args:
        text: Value of the option, such as 'label=label_index,mask=mask_path'; None if it is not given.

    Returns:
        Column of this project -> column of the list, for the names that differ.

    Raises:
        UsageError: A part is not COLUMN=NAME, or names no column of this project.
    """
    columns: dict[str, str] = {}
    for part in (text or "").split(",") if text else ():
        column, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not name:
            raise UsageError(
                f"--columns {text}: '{part}' is not COLUMN=NAME. Example: label=label_index,mask=mask_path."
            )
        if column not in COLUMNS:
            raise UsageError(f"--columns {text}: '{column}' is not a column of a list. Columns: {', '.join(COLUMNS)}.")
        if column in columns:
            raise UsageError(f"--columns {text}: '{column}' is given twice. Give each column once.")
        columns[column] = name
    return columns


def read_cells(data: Store, name: str, columns: Mapping[str, str]) -> Cells:
    """Read the cells of a list.

    Args:
        data: Data root.
        name: Name of the list below the root; .parquet is read as Parquet, all other names as CSV.
        columns: Column of this project -> column of the list, for the names that differ.

    Returns:
        The cells as text, without surrounding spaces.

    Raises:
        UsageError: The file is neither CSV nor Parquet, or lacks a column.
    """
    uri = data.below(name).uri
    header, lines = _read_parquet(data, name) if name.lower().endswith(".parquet") else _read_csv(data, name)
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise UsageError(
            f"{uri}: the column {', '.join(repeated)} occurs several times. Give each column its own name."
        )
    if unknown := [column for column in columns.values() if column not in header]:
        raise UsageError(f"--columns: {uri} has no column {', '.join(unknown)}. Found: {', '.join(header) or 'none'}.")
    names = {column: columns.get(column, column) for column in COLUMNS}
    taken = set(columns.values())
    likely = {column: _likely(column, header, taken) for column in COLUMNS if names[column] not in header}
    proposed = {column: name_there for column, name_there in likely.items() if name_there}
    if missing := [column for column in REQUIRED if column in likely]:
        raise UsageError(
            f"{uri}: missing column: {', '.join(missing)}. Required: {', '.join(REQUIRED)}; "
            f"optional: {', '.join(OPTIONAL)}; found: {', '.join(header) or 'none'}.{_proposal(proposed, columns)}"
        )
    warnings = (f"{name}: column {', '.join(proposed.values())} is not read.{_proposal(proposed, columns)}",)
    rows = [{column: _text(line.get(there)) for column, there in names.items()} for line in lines]
    return Cells(rows, warnings if proposed else ())


def _likely(column: str, header: Sequence[str], taken: Iterable[str]) -> str:
    """Return the column of a list that probably has the contents of a missing column; empty if there is none."""
    free = {name.lower(): name for name in header if name not in COLUMNS and name not in taken}
    return next((free[name] for name in _LIKELY[column] if name in free), "")


def _proposal(proposed: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """Return the sentence that proposes --columns; empty without a proposal."""
    pairs = [f"{column}={name}" for column, name in {**columns, **proposed}.items()]
    return f" To read columns under other names, give --columns {','.join(pairs)}." if proposed else ""


def _text(cell: Any) -> str:
    """Return a cell as text without surrounding spaces; null and NaN become empty text, and a list is joined by ';'."""
    if isinstance(cell, list):
        return ";".join(_text(element) for element in cell)
    return "" if cell is None or cell != cell else str(cell).strip()


def _read_csv(data: Store, name: str) -> tuple[Sequence[str], Sequence[Mapping[str, Any]]]:
    """Return header and rows; all cells remain text, so that the part number 004711 keeps its zeros."""
    try:
        reader = csv.reader(io.StringIO(data.read(name).decode("utf-8-sig"), newline=""))
        header, rows = next(reader, []), [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{data.below(name).uri} is not a CSV file in UTF-8 ({error}). Save it in this format."
        ) from error
    if len(header) == 1 and any(mark in header[0] for mark in _OTHER_SEPARATORS):
        raise UsageError(f"{data.below(name).uri}: the header '{header[0]}' has no comma. Separate cells with commas.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UsageError(
                f"{data.below(name).uri}, row {number}: {len(row)} cells, but the header has {len(header)} columns. "
                "Complete the row."
            )
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def _read_parquet(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Return column names and rows."""
    table = read_table(data, name)
    try:
        return table.column_names, table.to_pylist()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{data.below(name).uri} contains text that is not UTF-8 ({error}). Write it as UTF-8."
        ) from error
