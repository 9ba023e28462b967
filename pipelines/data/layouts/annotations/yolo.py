"""Layout of YOLO exports: one text file per image, with boxes or polygons as shares of width and height."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import yaml

from pipelines.data.discovery import File
from pipelines.data.layouts.annotations.exports import Export, Files, exports, malformed
from pipelines.data.layouts.annotations.outlines import Shape, numbers
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of
from pipelines.storage.store import Store, side_by_side

_KIND = "YOLO"
_DATUMARO = re.compile(r"obj_(.+)_data")  # folder of a subset in the exports of Datumaro and CVAT
_NAMES = ("data.yaml", "dataset.yaml", "obj.names", "classes.txt")


def yolo(data: Store) -> Categories:
    """Find YOLO exports: images/<split> with labels/<split>/<stem>.txt, or <split>/images with <split>/labels.

    Datumaro and CVAT write obj_<split>_data/<stem>.txt beside the images. An image with an empty text file, or with
    none, is good. The names of the defects are those of data.yaml, obj.names or classes.txt.

    Args:
        data: Data root.

    Raises:
        UsageError: No training image is good, or a text file is not valid.
    """
    return exports(data, _KIND, _read)


def _read(data: Store, prefix: str) -> Export | None:
    if not _is_export(data, prefix):
        return None
    export = Export()
    files = Files.below(data, prefix, export)
    tables = {name: table for name in files.images() if (table := _table(name)) is not None}
    if not any(table in files.by_name for table in tables.values()):
        return None
    names = _class_names(data, files)
    sizes = {name: info.size for name, (_, info) in files.by_name.items() if info is not None}
    filled = [table for table in tables.values() if sizes.get(table)]
    lines = dict(zip(filled, side_by_side(lambda table: _lines(data, files.by_name[table][0]), filled), strict=True))
    for name, image in files.images().items():
        if name not in tables:
            export.passed_over(image[0], "excluded, because it is not in a folder of images of the YOLO export.")
            continue
        source: File = files.by_name.get(tables[name], image)
        outlined = [
            (names.get(klass, f"class {klass}"), shape)
            for number, line in enumerate(lines.get(tables[name], ()), start=1)
            for klass, shape in _shapes(data, source[0], number, line)
        ]
        export.add(image, _subset(name), outlined, source)
    for name, (path, _) in files.by_name.items():
        if _is_label_file(name) and name not in tables.values():
            export.passed_over(path, "not used, because there is no image of that name.")
    return export


def _is_export(data: Store, prefix: str) -> bool:
    """Return whether the names of the folders are those of a YOLO export."""
    folders = data.folders(prefix.rstrip("/"))
    if {"images", "labels"} <= set(folders) or any(_DATUMARO.fullmatch(name) for name in folders):
        return True
    halves = [name for name in folders if half_of(name)]
    return any({"images", "labels"} <= set(data.folders(f"{prefix}{name}")) for name in halves)


def _table(image: str) -> str | None:
    """Return the name of the text file of an image; None if the image is not in a folder of images."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    if _DATUMARO.fullmatch(parts[0]):
        return "/".join(parts)
    places = [number for number, part in enumerate(parts[:-1]) if part == "images"]
    if not places:
        return None
    parts[places[-1]] = "labels"
    return "/".join(parts)


def _is_label_file(name: str) -> bool:
    path = PurePosixPath(name)
    in_labels = "labels" in path.parts[:-1] or bool(_DATUMARO.fullmatch(path.parts[0]))
    return in_labels and path.suffix == ".txt" and path.name != "classes.txt"


def _subset(image: str) -> str:
    """Return the subset of an image: the folder below or above `images`, or the middle of obj_<subset>_data."""
    parts = PurePosixPath(image).parts[:-1]
    if match := _DATUMARO.fullmatch(parts[0]):
        return match[1]
    return next((part for part in parts if part != "images"), "")


def _class_names(data: Store, files: Files) -> Mapping[int, str]:
    """Return class number -> name; empty if no file gives the names."""
    name = next((name for name in _NAMES if name in files.by_name), None)
    if name is None:
        return {}
    try:
        text = data.read(files.by_name[name][0]).decode("utf-8-sig")
        if not name.endswith(".yaml"):
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
        names = (yaml.safe_load(text) or {}).get("names") or ()
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(word) for number, word in pairs}
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise malformed(data, files.by_name[name][0], _KIND, reason) from error


def _lines(data: Store, name: str) -> list[str]:
    """Return the lines of a text file."""
    try:
        return data.read(name).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise malformed(data, name, _KIND, error) from error


def _shapes(data: Store, name: str, number: int, line: str) -> list[tuple[int, Shape]]:
    """Return class and shape of a line; nothing for an empty line.

    A line has the class, then x and y of the center, width and height of a box, and perhaps a confidence; or the class,
    then x and y of at least three corners.
    """
    words = line.split()
    if not words:
        return []
    try:
        klass, *values = int(words[0]), *numbers([float(word) for word in words[1:]])
        if len(values) in (4, 5):
            x, y, width, height = values[:4]
            return [(klass, {"box": [x - width / 2, y - height / 2, x + width / 2, y + height / 2], "relative": True})]
        if len(values) < 6 or len(values) % 2:
            raise ValueError(f"{len(values)} values after the class are neither a box nor a polygon")
    except ValueError as error:
        raise malformed(data, name, _KIND, f"line {number}: {error}") from error
    corners = [list(corner) for corner in zip(values[::2], values[1::2], strict=True)]
    return [(klass, {"polygon": corners, "relative": True})]
