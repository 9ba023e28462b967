"""Lists of images, as CSV or Parquet files, which replace a directory layout.

Columns:

* `path` and `mask`: paths relative to the folder of the list.
* `category`: any text that does not begin with a dot.
* `split`: 'train' or 'test'.
* `label`: 0, 'good', 'ok' or 'normal' for good images; 1 or the name of the defect for defective images; empty if it is
  not known. Training images without a label count as good.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from pipelines.data.discovery import Walk, named
from pipelines.data.records import GOOD
from pipelines.errors import UsageError
from pipelines.storage.parquet import read_table
from pipelines.storage.store import Store, side_by_side

_NEEDED = ("path", "category", "split", "label")
_NUMBERS = {0.0: GOOD, 1.0: "defect"}
_MAX_NAME_BYTES = 255  # limit of common file systems for one path component
# Any other word is the name of a defect.
_WORDS = {GOOD: GOOD, "ok": GOOD, "normal": GOOD, "false": GOOD, "true": "defect"}


@dataclass(frozen=True)
class Row:
    """A row of a list of images.

    Attributes:
        path: Path of the image below the data root.
        split: 'train' or 'test'.
        defect: `GOOD`, the name of a defect, or None if it is not known.
        mask: Path of the mask below the data root; None without a mask.
    """

    path: str
    split: str
    defect: str | None
    mask: str | None


def read_list(data: Store, name: str, columns: Mapping[str, str] | None = None) -> dict[str, list[Row]]:
    """Read a list of images.

    Args:
        data: Data root.
        name: Name of the list below the root.
        columns: Column of this module -> column of the list, for names that differ; None if none differs.

    Returns:
        Category -> its rows; categories and rows are sorted, rows by path.

    Raises:
        UsageError: The file does not exist, is neither CSV nor Parquet, lacks a column, lists an image twice or has an
            invalid row.
    """
    uri = data.below(name).uri
    if not data.exists(name):
        raise UsageError(f"--data {uri}: the file does not exist.")
    columns = {column: column for column in (*_NEEDED, "mask")} | dict(columns or {})
    header, lines = _read_parquet(data, name) if name.lower().endswith(".parquet") else _read_csv(data, name)
    if missing := [columns[column] for column in _NEEDED if columns[column] not in header]:
        raise UsageError(
            f"{uri}: missing column: {', '.join(missing)}. "
            f"Required: {', '.join(columns[column] for column in _NEEDED)}; optional: {columns['mask']}; "
            f"found: {', '.join(header) or 'none'}."
        )
    categories: dict[str, list[Row]] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        cells = {column: _text(line.get(name_there)) for column, name_there in columns.items()}
        try:
            row = _row(cells)
            if row.path in seen:
                raise UsageError(f"{row.path} is already listed in row {seen[row.path]}. List each image once.")
        except UsageError as error:
            raise UsageError(f"{uri}, row {number}: {error}") from error
        seen[row.path] = number
        categories.setdefault(cells["category"], []).append(row)
    return {category: sorted(rows, key=lambda row: row.path) for category, rows in sorted(categories.items())}


def walk_list(data: Store, name: str, category: str, rows: Sequence[Row]) -> Walk:
    """Return the images of a category from the rows of a list.

    Defective images of split 'train' are excluded. An image that does not exist is kept, so that it is recorded as a
    failure like any other image that cannot be read. If no image of the category exists, the paths are probably
    relative to another folder, and the result contains no image.

    Args:
        data: Data root.
        name: Name of the list below the root.
        category: Name of the category.
        rows: Rows of the category, at least one.

    Returns:
        Images and warnings of the category.
    """
    walk = Walk()
    existing = _existing(data, [row.path for row in rows] + [row.mask for row in rows if row.mask])
    if not any(row.path in existing for row in rows):
        walk.warnings.append(
            f"{category}: none of the {len(rows)} listed images exists, for example {rows[0].path}. "
            f"Paths are relative to {data.uri}."
        )
        return walk
    left_out, missing_masks = [], []
    for row in rows:
        if row.split == "train" and row.defect not in (GOOD, None):
            left_out.append(row.path)
            continue
        if row.mask and row.mask not in existing:
            missing_masks.append(row.mask)
        mask = (row.mask, existing[row.mask]) if row.mask and row.mask in existing else None
        defect = GOOD if row.split == "train" else row.defect
        walk.add(category, (row.path, existing.get(row.path)), split=row.split, defect=defect, mask=mask)
    if left_out:
        walk.warnings.append(f"{named(left_out)}: excluded from training, because the label in {name} is defective.")
    if missing_masks:
        walk.warnings.append(f"{named(missing_masks)}: the mask does not exist. The image is used without a mask.")
    return walk


def _existing(data: Store, names: Iterable[str]) -> dict[str, pafs.FileInfo]:
    """Return the files that exist; whole folders are listed, because each request to an object store takes time."""
    wanted = set(names)
    folders = sorted({name.rpartition("/")[0] for name in wanted})
    listed = side_by_side(lambda folder: data.files(folder, recursive=False), folders)
    named_infos = ((data.name_of(info), info) for infos in listed for info in infos)
    return {name: info for name, info in named_infos if name in wanted}


def _row(cells: Mapping[str, str]) -> Row:
    """Return the row of a list, or raise UsageError with a message to which the caller adds list and row number."""
    if not cells["category"] or cells["category"].startswith(".") or ".." in cells["category"].split("/"):
        raise UsageError(
            f"category '{cells['category']}' is not valid. It must not be empty, begin with a dot or contain '/..'."
        )
    split = cells["split"].lower()
    if split not in ("train", "test"):
        raise UsageError(f"split '{cells['split']}' is not valid. Use 'train' or 'test'.")
    mask = _below(cells["mask"]) if cells["mask"] else None
    return Row(_below(cells["path"]), split, _defect(cells["label"]), mask)


def _defect(label: str) -> str | None:
    """Return `GOOD`, the name of a defect, or None for an empty label."""
    if not label:
        return None
    try:
        return _NUMBERS[float(label)]
    except ValueError:
        return _WORDS.get(label.lower(), label)
    except KeyError:
        raise UsageError(
            f"label '{label}' is not valid. Use 0 (good), 1 (defective) or the name of a defect."
        ) from None


def _below(path: str) -> str:
    """Return a path below the root without './' and '//'; raise UsageError if it is not below the root."""
    relative = PurePosixPath(path)
    if not path or relative.is_absolute() or ".." in relative.parts or "://" in path:
        raise UsageError(
            f"path '{path}' is not valid. Use a path below the folder of the list, relative to it, without '..'."
        )
    if "\0" in path or any(len(part.encode()) > _MAX_NAME_BYTES for part in relative.parts):
        raise UsageError(
            f"path {path[:50]!a}... is not valid. Names must have at most {_MAX_NAME_BYTES} bytes and no NUL character."
        )
    return str(relative)


def _text(cell: Any) -> str:
    """Return a cell as text without surrounding spaces; null and NaN become empty text."""
    return "" if cell is None or cell != cell else str(cell).strip()


def _read_csv(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Return header and rows; all cells remain text, so that the part number 004711 keeps its zeros."""
    try:
        reader = csv.DictReader(io.StringIO(data.read(name).decode("utf-8-sig"), newline=""))
        return list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{data.below(name).uri} is not a CSV file in UTF-8 ({error}). Save it in this format."
        ) from error


def _read_parquet(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Return column names and rows."""
    table = read_table(data, name)
    try:
        return table.column_names, table.to_pylist()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{data.below(name).uri} contains text that is not UTF-8 ({error}). Write it as UTF-8."
        ) from error
