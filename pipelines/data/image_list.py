"""Lists of images, CSV or Parquet, in place of a directory layout.

Columns: `path` and `mask`, relative to the list's folder; `category`, any text; `split`, train or test; `label`: 0,
good, ok or normal for good images; 1, or any other word, the name of the defect, for defective ones; empty where it is
not known, which means good in train.
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
_MAX_NAME_BYTES = 255  # of a file
_WORDS = {GOOD: GOOD, "ok": GOOD, "normal": GOOD, "false": GOOD, "true": "defect"}  # other words are names of defects


@dataclass(frozen=True)
class Row:
    """A row of a list.

    Attributes:
        path: of the image, below the root.
        split: 'train' or 'test'.
        defect: `GOOD`, the name of a defect, or None where it is not known.
        mask: its path below the root, or None.
    """

    path: str
    split: str
    defect: str | None
    mask: str | None


def read_list(data: Store, name: str, columns: Mapping[str, str] | None = None) -> dict[str, list[Row]]:
    """Return the rows of a list: category -> rows, sorted by path.

    Args:
        data: the data root.
        name: of the list, below the root.
        columns: column of this module -> its name in the list, where they differ.

    Raises:
        UsageError: the file is missing or neither CSV nor Parquet, lacks a column, lists an image twice, or has an
            invalid row.
    """
    uri = data.below(name).uri
    if not data.exists(name):
        raise UsageError(f"--data {uri}: there is no such file.")
    columns = {column: column for column in (*_NEEDED, "mask")} | dict(columns or {})
    header, lines = _read_parquet(data, name) if name.lower().endswith(".parquet") else _read_csv(data, name)
    if missing := [columns[column] for column in _NEEDED if columns[column] not in header]:
        raise UsageError(
            f"{uri}: has no column {', '.join(missing)}; it needs {', '.join(columns[column] for column in _NEEDED)}, "
            f"may have {columns['mask']}, and has {', '.join(header) or 'none'}."
        )
    categories: dict[str, list[Row]] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        cells = {column: _text(line.get(name_there)) for column, name_there in columns.items()}
        try:
            row = _row(cells)
            if row.path in seen:
                raise UsageError(f"{row.path} is listed in row {seen[row.path]} already; give every image one row.")
        except UsageError as error:
            raise UsageError(f"{uri}, row {number}: {error}") from error
        seen[row.path] = number
        categories.setdefault(cells["category"], []).append(row)
    return {category: sorted(rows, key=lambda row: row.path) for category, rows in sorted(categories.items())}


def walk_list(data: Store, name: str, category: str, rows: Sequence[Row]) -> Walk:
    """Return a category's images as its rows describe them.

    Defective images of `train` are left out. A missing image is kept: it becomes a failure of its own, like any image
    that cannot be read. If all images of a category are missing, the list does not belong to this root, and there are
    none.

    Args:
        data: the data root.
        name: of the list, below the root.
        category: the category.
        rows: of the category, at least one.
    """
    walk = Walk()
    existing = _existing(data, [row.path for row in rows] + [row.mask for row in rows if row.mask])
    if not any(row.path in existing for row in rows):
        walk.warnings.append(
            f"none of the {len(rows)} images of {category} is there, {rows[0].path} for one; paths are relative to "
            f"{data.uri}."
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
        walk.warnings.append(f"{named(left_out)}: defective by {name}, and left out of train.")
    if missing_masks:
        walk.warnings.append(f"{named(missing_masks)}: a mask that is not there; the image has none.")
    return walk


def _existing(data: Store, names: Iterable[str]) -> dict[str, pafs.FileInfo]:
    """Return those of the files that exist. Whole folders are listed: a store takes its time for each request."""
    wanted = set(names)
    folders = sorted({name.rpartition("/")[0] for name in wanted})
    listed = side_by_side(lambda folder: data.files(folder, recursive=False), folders)
    named_infos = ((data.name_of(info), info) for infos in listed for info in infos)
    return {name: info for name, info in named_infos if name in wanted}


def _row(cells: Mapping[str, str]) -> Row:
    """Return the row of a list; the message of the UsageError that is raised does not name the list."""
    if not cells["category"] or cells["category"].startswith(".") or ".." in cells["category"].split("/"):
        raise UsageError(f"category '{cells['category']}': give a name that does not begin with a dot, without '/..'.")
    split = cells["split"].lower()
    if split not in ("train", "test"):
        raise UsageError(f"split '{cells['split']}' is neither train nor test.")
    mask = _below(cells["mask"]) if cells["mask"] else None
    return Row(_below(cells["path"]), split, _defect(cells["label"]), mask)


def _defect(label: str) -> str | None:
    if not label:
        return None
    try:
        return _NUMBERS[float(label)]
    except ValueError:
        return _WORDS.get(label.lower(), label)
    except KeyError:
        raise UsageError(f"label '{label}' is neither 0 (good) nor 1 (defective), nor a defect's name.") from None


def _below(path: str) -> str:
    """Return the path below the root, without './' and '//'."""
    relative = PurePosixPath(path)
    if not path or relative.is_absolute() or ".." in relative.parts or "://" in path:
        raise UsageError(f"path '{path}': give one below the list's folder, relative to it, without '..'.")
    if "\0" in path or any(len(part.encode()) > _MAX_NAME_BYTES for part in relative.parts):
        raise UsageError(
            f"path {path[:50]!a}...: no file has such a name, a NUL or over {_MAX_NAME_BYTES} bytes in it."
        )
    return str(relative)


def _text(cell: Any) -> str:
    """Return a cell as text; null and NaN are empty."""
    return "" if cell is None or cell != cell else str(cell).strip()


def _read_csv(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Return header and rows; all cells stay text, so that part number 004711 keeps its zeros."""
    try:
        reader = csv.DictReader(io.StringIO(data.read(name).decode("utf-8-sig"), newline=""))
        return list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{data.below(name).uri}: is no CSV in UTF-8: {error}") from error


def _read_parquet(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    table = read_table(data, name)
    try:
        return table.column_names, table.to_pylist()
    except UnicodeDecodeError as error:
        raise UsageError(f"{data.below(name).uri}: has text that is not UTF-8: {error}") from error
