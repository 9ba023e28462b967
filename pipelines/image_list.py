"""Images by a list, CSV or Parquet: what a row says, and what is wrong with it.

Columns: `path` and `mask`, relative to the list's folder; `category`, any text; `split`, train or test; `label`: 0,
good, ok or normal; 1, or any other word, which is the defect's name; or nothing where it is not known: in train that is
good.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from pipelines.storage import Store, side_by_side
from pipelines.tables import read_table
from pipelines.usage import UsageError
from pipelines.walk import GOOD, Walk, named

_NEEDED = ("path", "category", "split", "label")
_NUMBERS = {0.0: GOOD, 1.0: "defect"}
_LONGEST = 255  # bytes that a file's name may have
_WORDS = {GOOD: GOOD, "ok": GOOD, "normal": GOOD, "false": GOOD, "true": "defect"}  # others are defects' names


@dataclass(frozen=True)
class Row:
    """What a list says of an image.

    Attributes:
        path, mask: below the root.
        defect: `GOOD`, a defect's name, or None where it is not known.
    """

    path: str
    split: str
    defect: str | None
    mask: str | None


def read_list(data: Store, name: str, columns: Mapping[str, str] | None = None) -> dict[str, list[Row]]:
    """The rows of a list below a root, by category, in order of their paths.

    Args:
        columns: what columns are called there, where it is not as here.

    Raises:
        UsageError: no such file, no CSV or Parquet, a missing column, an image that is listed twice, a row that says
            something else than it should.
    """
    place = data.below(name).uri
    if not data.exists(name):
        raise UsageError(f"--data {place}: there is no such file.")
    columns = {each: each for each in (*_NEEDED, "mask")} | dict(columns or {})
    header, lines = _read_parquet(data, name) if name.lower().endswith(".parquet") else _read_csv(data, name)
    if missing := [columns[each] for each in _NEEDED if columns[each] not in header]:
        raise UsageError(
            f"{place}: has no column {', '.join(missing)}; it needs {', '.join(columns[each] for each in _NEEDED)}, "
            f"may have {columns['mask']}, and has {', '.join(header) or 'none'}."
        )
    found: dict[str, list[Row]] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        cells = {ours: _text(line.get(theirs)) for ours, theirs in columns.items()}
        try:
            row = _row(cells)
            if row.path in seen:
                raise UsageError(f"{row.path} is listed in row {seen[row.path]} already; give every image one row.")
        except UsageError as error:
            raise UsageError(f"{place}, row {number}: {error}") from error
        seen[row.path] = number
        found.setdefault(cells["category"], []).append(row)
    return {category: sorted(rows, key=lambda row: row.path) for category, rows in sorted(found.items())}


def walk_list(data: Store, name: str, category: str, rows: Sequence[Row]) -> Walk:
    """A category's images, as its rows tell.

    Defective images of `train` are left out. An image that is not there stays: like any other that cannot be read it is
    a failure of its own, and no night ends of it. Where none of a category's is there the list is not of this root.
    """
    walk = Walk()
    there = _there(data, [row.path for row in rows] + [row.mask for row in rows if row.mask])
    if not any(row.path in there for row in rows):
        walk.warnings.append(
            f"none of the {len(rows)} images of {category} is there, {rows[0].path} for one; paths are relative to "
            f"{data.uri}."
        )
        return walk
    left_out, maskless = [], []
    for row in rows:
        if row.split == "train" and row.defect not in (GOOD, None):
            left_out.append(row.path)
            continue
        if row.mask and row.mask not in there:
            maskless.append(row.mask)
        mask = (row.mask, there[row.mask]) if row.mask and row.mask in there else None
        defect = GOOD if row.split == "train" else row.defect
        walk.add(category, row.split, defect, (row.path, there.get(row.path)), mask)
    if left_out:
        walk.warnings.append(f"{named(left_out)}: defective by {name}, and left out of train.")
    if maskless:
        walk.warnings.append(f"{named(maskless)}: a mask that is not there; the image has none.")
    return walk


def _there(data: Store, names: Iterable[str]) -> dict[str, pafs.FileInfo]:
    """Those of the files that are there: their folders are listed, for a store answers each request after a while."""
    wanted = set(names)
    folders = sorted({name.rpartition("/")[0] for name in wanted})
    listed = side_by_side(lambda folder: data.files(folder, recursive=False), folders)
    named_infos = ((data.name_of(info), info) for infos in listed for info in infos)
    return {name: info for name, info in named_infos if name in wanted}


def _row(cells: Mapping[str, str]) -> Row:
    """Raises UsageError: what is wrong, without its place."""
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
    """The path as it is called below the root, without './' and '//'."""
    found = PurePosixPath(path)
    if not path or found.is_absolute() or ".." in found.parts or "://" in path:
        raise UsageError(f"path '{path}': give one below the list's folder, relative to it, without '..'.")
    if "\0" in path or any(len(part.encode()) > _LONGEST for part in found.parts):
        raise UsageError(f"path {path[:50]!a}...: no file has such a name, a NUL or over {_LONGEST} bytes in it.")
    return str(found)


def _text(cell: Any) -> str:
    """A cell as text; nothing where it is null or NaN."""
    return "" if cell is None or cell != cell else str(cell).strip()


def _read_csv(data: Store, name: str) -> tuple[Sequence[str], Iterable[Mapping[str, Any]]]:
    """Header and rows; every cell stays text, so that part number 004711 does."""
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
