"""Lists of images, as CSV or Parquet files, which replace a directory layout.

Columns; `pipelines.data.list_columns` reads them, also under other names:

* `path` and `mask`: absolute paths, or paths relative to the folder of the list. A cell `mask` can name several masks,
  separated by ';'. Alternatively, the image has several rows with one mask each.
* `category`: any text that does not begin with a dot.
* `split`: 'train', 'validation' (also 'val', 'valid') or 'test'.
* `label`: 0, 'good', 'ok' or 'normal' for good images; 1 or the name of the defect for defective images; empty if it is
  not known. Training and validation images without a label count as good.
* `part_id` and `view`: the workpiece, and how it is seen.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.fs as pafs

from pipelines.data.discovery import Truth, Walk, named
from pipelines.data.list_columns import read_cells
from pipelines.data.mask_files import GOOD_NAMES
from pipelines.data.records import GOOD, TEST, TRAIN, VALIDATION
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side

_SPLITS = {TRAIN: TRAIN, TEST: TEST, VALIDATION: VALIDATION, "val": VALIDATION, "valid": VALIDATION}
_NUMBERS = {0.0: GOOD, 1.0: "defect"}
_MAX_NAME_BYTES = 255  # limit of common file systems for one path component
# Any other word is the name of a defect.
_WORDS = {**dict.fromkeys(GOOD_NAMES, GOOD), "false": GOOD, "true": "defect"}
_BUCKET_SCHEMES = ("s3", "gs", "gcs")  # in their URIs, the bucket follows '://', so that a full URI gives the path


@dataclass(frozen=True, kw_only=True)
class Row:
    """An image of a list, from one row or several.

    Attributes:
        path: Name of the image in the data root.
        category: Category of the image.
        split: 'train', 'validation' or 'test'.
        defect: `GOOD`, the name of a defect, or None if it is not known.
        masks: Names of the masks in the data root.
        part_id: Workpiece; None if it is not given.
        view: View of the workpiece; None if it is not given.
    """

    path: str
    category: str
    split: str
    defect: str | None
    masks: tuple[str, ...]
    part_id: str | None
    view: str | None


@dataclass(frozen=True)
class ImageList:
    """A list of images.

    Attributes:
        name: Name of the list below the data root.
        categories: Category -> its images; categories and images are sorted, images by path.
        warnings: Sentences for the user about the list.
    """

    name: str
    categories: Mapping[str, Sequence[Row]]
    warnings: tuple[str, ...] = ()


def read_list(data: Store, name: str, columns: Mapping[str, str] | None = None) -> ImageList:
    """Read a list of images.

    Args:
        data: Data root.
        name: Name of the list below the root.
        columns: Column of this module -> column of the list, for names that differ; None if none differs.

    Returns:
        The images of the list.

    Raises:
        UsageError: The file does not exist, is neither CSV nor Parquet, lacks a column, has an invalid row, or has rows
            of an image that contradict each other.
    """
    uri = data.below(name).uri
    if not data.exists(name):
        raise UsageError(f"--data {uri}: the file does not exist.")
    cells = read_cells(data, name, columns or {})
    images: dict[str, tuple[int, Row]] = {}  # by path in the file system, which several spellings of a name share
    for number, line in enumerate(cells.rows, start=1):
        try:
            row = _row(data, line)
            first, before = images.get(data.path(row.path), (number, row))
            images[data.path(row.path)] = (first, _united(before, row, first))
        except UsageError as error:
            raise UsageError(f"{uri}, row {number}: {error}") from error
    categories: dict[str, list[Row]] = {}
    for _, row in sorted(images.values(), key=lambda image: (image[1].category, image[1].path)):
        categories.setdefault(row.category, []).append(row)
    return ImageList(name, categories, cells.warnings)


def walk_list(data: Store, images: ImageList, category: str) -> Walk:
    """Return the images of a category of a list.

    Defective images of split 'train' are excluded; those of split 'validation' become test images. An image that does
    not exist is kept, so that it is recorded as a failure like any other image that cannot be read. If no image of the
    category exists, the paths are probably relative to another folder, and the result contains no image.

    Args:
        data: Data root.
        images: The list.
        category: Name of the category.

    Returns:
        Images and warnings of the category.
    """
    walk, rows = Walk(warnings=list(images.warnings)), images.categories[category]
    existing = _existing(data, [name for row in rows for name in (row.path, *row.masks)])
    if not any(row.path in existing for row in rows):
        walk.warnings.insert(
            0,
            f"{category}: none of the {len(rows)} listed images exists, for example {rows[0].path}. "
            f"Paths are relative to {data.uri}.",
        )
        return walk
    left_out, moved, missing_masks = [], [], []
    for row in rows:
        is_defective = row.defect not in (GOOD, None)
        if row.split == TRAIN and is_defective:
            left_out.append(row.path)
            continue
        if row.split == VALIDATION and is_defective:
            moved.append(row.path)
        missing_masks += [mask for mask in row.masks if mask not in existing]
        masks = tuple((mask, existing[mask]) for mask in row.masks if mask in existing)
        walk.add(
            category,
            (row.path, existing.get(row.path)),
            split=TEST if is_defective else row.split,
            defect=row.defect if row.split == TEST or is_defective else GOOD,
            truth=Truth(masks=masks, part_id=row.part_id, view=row.view),
        )
    _warn(walk, images.name, {"left out": left_out, "moved": moved, "missing masks": missing_masks})
    return walk


def _warn(walk: Walk, name: str, paths: Mapping[str, Sequence[str]]) -> None:
    """Add one warning for each kind of files that are not used as the list says."""
    if left_out := paths["left out"]:
        walk.warnings.append(f"{named(left_out)}: excluded from training, because the label in {name} is defective.")
    if moved := paths["moved"]:
        walk.warnings.append(f"{named(moved)}: used as test images, because validation images must be good.")
    if missing := paths["missing masks"]:
        walk.warnings.append(f"{named(missing)}: the mask does not exist. The image is used without it.")


def _existing(data: Store, names: Iterable[str]) -> dict[str, pafs.FileInfo]:
    """Return the files that exist; whole folders are listed, because each request to an object store takes time."""
    wanted = sorted(set(names))
    folders = sorted({_folder(name) for name in wanted})
    listed = side_by_side(lambda folder: data.files(folder, recursive=False), folders)
    by_path = {info.path: info for infos in listed for info in infos}
    return {name: by_path[data.path(name)] for name in wanted if data.path(name) in by_path}


def _folder(name: str) -> str:
    folder, slash, _ = name.rpartition("/")
    return folder or slash


def _united(before: Row, row: Row, first: int) -> Row:
    """Return the image of two rows with all their masks; raise UsageError if the rows contradict each other."""
    for column, value in vars(row).items():
        other = getattr(before, column)
        if column not in ("path", "masks") and other != value:
            shown = [f"'{'' if cell is None else cell}'" for cell in (other, value)]
            raise UsageError(
                f"{row.path} is already listed in row {first}, with {column.replace('defect', 'label')} {shown[0]} "
                f"instead of {shown[1]}. Rows of one image may differ only in their masks."
            )
    return replace(before, masks=tuple(dict.fromkeys((*before.masks, *row.masks))))


def _row(data: Store, cells: Mapping[str, str]) -> Row:
    """Return the row of a list, or raise UsageError with a message to which the caller adds list and row number."""
    category = cells["category"]
    if not category or category.startswith(".") or ".." in category.split("/"):
        raise UsageError(
            f"category '{category}' is not valid. It must not be empty, begin with a dot or contain '/..'."
        )
    split = _SPLITS.get(cells["split"].lower())
    if split is None:
        raise UsageError(f"split '{cells['split']}' is not valid. Use 'train', 'validation' or 'test'.")
    return Row(
        path=_located(data, cells["path"]),
        category=category,
        split=split,
        defect=_defect(cells["label"]),
        masks=tuple(_located(data, mask.strip()) for mask in cells["mask"].split(";") if mask.strip()),
        part_id=cells["part_id"] or None,
        view=cells["view"] or None,
    )


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


def _located(data: Store, path: str) -> str:
    """Return the name of a file of a list in the data root; raise UsageError if the path is not valid.

    The name is relative to the root, without './' and '//', if the path is relative and does not leave the root. Else
    it is the absolute path or, in an object store, the URI; `Store.path` accepts both in the root of a list.
    """
    if not path:
        raise UsageError("the path is empty. Give the path of an image file.")
    if "\0" in path or any(len(part.encode()) > _MAX_NAME_BYTES for part in path.split("/")):
        raise UsageError(
            f"path {path[:50]!a}... is not valid. Names must have at most {_MAX_NAME_BYTES} bytes and no NUL character."
        )
    scheme, mark, rest = path.partition("://")
    if data.is_local:
        return _on_disk(data, path) if not mark else _refused(path, "the list is on a disk. Use a path on that disk.")
    if path.startswith("/"):
        _refused(path, "the list is in an object store. Use a path relative to the list, or a full URI.")
    full = posixpath.normpath(rest if mark else f"{data.root}/{path}")
    if not mark and full.startswith(f"{data.root}/"):
        return full.removeprefix(f"{data.root}/")
    own_scheme, bucket = data.uri.partition("://")[0], data.root.partition("/")[0]
    is_same = (scheme if mark else own_scheme) == own_scheme and full.startswith(f"{bucket}/")
    if not is_same or own_scheme not in _BUCKET_SCHEMES:
        why = "it is neither below the list nor an s3:// or gs:// URI of its bucket. Put the list above the images."
        _refused(path, why)
    return f"{own_scheme}://{full}"


def _on_disk(data: Store, path: str) -> str:
    """Return the name of a file on a disk: relative for a relative path that does not leave the root."""
    full = posixpath.normpath(posixpath.join(data.root, path)).replace("//", "/", 1)
    root = f"{data.root.rstrip('/')}/"
    is_below = not path.startswith("/") and full.startswith(root)
    return full.removeprefix(root) if is_below else full


def _refused(path: str, why: str) -> str:
    raise UsageError(f"path '{path}' is not valid: {why}")
