"""Layout of LabelMe: a JSON file beside each image with outlines, or Datumaro's export with XML files and masks."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree

from pipelines.data.discovery import File, Truth
from pipelines.data.layouts.annotations.exports import (
    Annotated,
    Export,
    Files,
    exports,
    half_of_subset,
    malformed,
    read_json,
)
from pipelines.data.layouts.annotations.outlines import Shape, mask_runs, numbers, polygon
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import IMAGE_FOLDERS
from pipelines.errors import IMAGE_READ_ERRORS, error_line
from pipelines.storage.store import Store, side_by_side
from reconpatch.imaging.images import SUFFIXES, read_mask

_KIND = "LabelMe"
_MASKS = "Masks"
_TABLES = (".json", ".xml")
_DEPTH, _MOST_FOLDERS = 3, 20  # folders that are searched for a first annotation file
_MASK = re.compile(r"(.+)_mask(?:_\d+)?\.\w+")
_CIRCLE_CORNERS = 64


def labelme(data: Store) -> Categories:
    """Find LabelMe annotations: <stem>.json beside <stem>.jpg; an image without a JSON file or without shapes is good.

    The root is one category if images are in it, or in folders of splits; else each folder is a category.
    Datumaro's export has <stem>.xml beside the images, and masks Masks/<subset>/<stem>_mask_<number>.png.

    Args:
        data: Data root.

    Raises:
        UsageError: No training image is good, or a JSON or XML file is not valid.
    """
    return exports(data, _KIND, _read)


def _read(data: Store, prefix: str) -> Export | None:
    export = Export()
    if not _has_table(data, prefix.rstrip("/")):
        return None
    files = Files.below(data, prefix, export)
    images = {name: image for name, image in files.images().items() if not name.startswith(f"{_MASKS}/")}
    tables = {name: table for name in images if (table := _table(files, name)) is not None}
    first = next(iter(tables.values()), None)
    if first is None or (not prefix and not _is_one_category(images)) or not _is_labelme(data, files.by_name[first][0]):
        return None
    masks = _masks(files, images)
    names = list(tables)
    outlined = side_by_side(lambda name: _outlined(data, files.by_name[tables[name]][0]), names)
    of_image = dict(zip(names, outlined, strict=True))
    for name, image in images.items():
        subset = _subset(name)
        stem = str(PurePosixPath(name).with_suffix(""))
        if found := masks.get(stem):
            words = sorted({word for word, _ in of_image.get(name, ())}) or ["defect"]
            annotated = Annotated(image=image, subset=subset, defects=words, truth=Truth(masks=tuple(found)))
            export.images.append(annotated)
        else:
            export.add(image, subset, of_image.get(name, ()), files.by_name.get(tables.get(name, ""), image))
    return export


def _has_table(data: Store, folder: str, depth: int = _DEPTH) -> bool:
    """Return whether an annotation file is beside an image, in a folder or near its top, without listing all of it."""
    contents = data.contents(folder, recursive=False)
    names = [PurePosixPath(info.base_name) for info in contents.files]
    images = {name.stem for name in names if name.suffix.lower() in SUFFIXES}
    if any(name.stem in images for name in names if name.suffix in _TABLES):
        return True
    below = sorted(info.base_name for info in contents.folders if not info.base_name.startswith("."))[:_MOST_FOLDERS]
    return depth > 0 and any(_has_table(data, f"{folder}/{name}".lstrip("/"), depth - 1) for name in below)


def _is_one_category(images: Collection[str]) -> bool:
    """Return whether images are in the root itself or in folders of splits, and not in one folder per category."""
    folders = {name.partition("/")[0].lower() if "/" in name else "" for name in images}
    return any(not name or name == "default" or name in IMAGE_FOLDERS or half_of_subset(name) for name in folders)


def _table(files: Files, image: str) -> str | None:
    """Return the name of the annotation file beside an image; None if there is none."""
    names = [str(PurePosixPath(image).with_suffix(suffix)) for suffix in _TABLES]
    return next((name for name in names if name in files.by_name), None)


def _is_labelme(data: Store, name: str) -> bool:
    """Return whether an annotation file is of LabelMe."""
    if name.endswith(".json"):
        content = read_json(data, name, _KIND)
        return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content
    root = _xml(data, name)
    # VOC's XML files have the same elements, but boxes instead of outlines.
    return root.tag == "annotation" and root.find("filename") is not None and root.find(".//bndbox") is None


def _subset(image: str) -> str:
    """Return the first folder of an image that is named after a split; empty if none is."""
    return next((part for part in PurePosixPath(image).parts[:-1] if half_of_subset(part)), "")


def _masks(files: Files, images: Mapping[str, File]) -> dict[str, list[File]]:
    """Return the stem of an image -> its masks in the folder Masks."""
    stems = {str(PurePosixPath(name).with_suffix("")) for name in images}
    masks: dict[str, list[File]] = {}
    for name, (path, info) in files.images(f"{_MASKS}/").items():
        match = _MASK.fullmatch(name.removeprefix(f"{_MASKS}/"))
        if match is None or match[1] not in stems:
            files.export.passed_over(path, "mask not used, because there is no image of that name.")
        else:
            masks.setdefault(match[1], []).append((path, info))
    return masks


def _outlined(data: Store, name: str) -> Sequence[tuple[str, Shape | None]]:
    """Return name and shape of each annotation of a JSON or XML file."""
    try:
        if name.endswith(".xml"):
            entries = [entry for entry in _xml(data, name).iter("object") if entry.findtext("deleted") != "1"]
            return [(str(entry.findtext("name")).strip(), _xml_shape(entry)) for entry in entries]
        content = read_json(data, name, _KIND)
        return [(str(entry["label"]), _shape(entry, content.get("imageHeight"))) for entry in content["shapes"]]
    except (ValueError, TypeError, KeyError, AttributeError, *IMAGE_READ_ERRORS) as error:
        raise malformed(data, name, _KIND, error if isinstance(error, KeyError) else error_line(error)) from error


def _shape(entry: Mapping[str, Any], height: Any) -> Shape | None:
    """Return the shape of an annotation of a JSON file; None if it has no area."""
    kind = entry.get("shape_type") or "polygon"
    points = [value for corner in entry["points"] for value in corner]
    if kind in ("polygon", "rotation") or (kind == "rectangle" and len(points) == 8):
        return polygon(points)
    if kind not in ("rectangle", "circle", "mask"):
        return None
    if len(points) != 4:
        raise ValueError(f"a {kind} has {len(points)} values, not two corners")
    x0, y0, x1, y1 = numbers(points)
    if kind == "rectangle":
        return {"box": [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]}
    if kind == "circle":  # its center and a point on it
        return {"polygon": _circle(x0, y0, math.dist((x0, y0), (x1, y1)))}
    mask = read_mask(base64.b64decode(entry["mask"], validate=True))
    return mask_runs(mask, left=round(min(x0, x1)), top=round(min(y0, y1)), height=int(height))


def _circle(x: float, y: float, radius: float) -> list[list[float]]:
    angles = [2 * math.pi * number / _CIRCLE_CORNERS for number in range(_CIRCLE_CORNERS)]
    return [[x + radius * math.cos(angle), y + radius * math.sin(angle)] for angle in angles]


def _xml(data: Store, name: str) -> ElementTree.Element:
    """Return the root of an XML file."""
    try:
        return ElementTree.fromstring(data.read(name))
    except ElementTree.ParseError as error:
        raise malformed(data, name, _KIND, error) from error


def _xml_shape(entry: ElementTree.Element) -> Shape | None:
    """Return the polygon of an object of an XML file; None if it has none."""
    points = [value for corner in entry.iter("pt") for value in (corner.findtext("x"), corner.findtext("y"))]
    return polygon([float(str(value)) for value in points]) if points else None
