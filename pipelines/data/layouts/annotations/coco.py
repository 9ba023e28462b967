"""Layout of COCO exports: one JSON file per subset, with polygons, run lengths or boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipelines.data.discovery import File
from pipelines.data.layouts.annotations.exports import Export, Files, exports, malformed, read_json
from pipelines.data.layouts.annotations.outlines import Shape, box, coco_runs, polygon
from pipelines.data.layouts.categories import Categories
from pipelines.storage.store import Store

_KIND = "COCO"
_BESIDE = "_annotations.coco.json"  # Roboflow's name
_AT_ROOT = frozenset({_BESIDE, "result.json", "coco.json", "annotations.json"})


def coco(data: Store) -> Categories:
    """Find COCO exports: annotations/instances_<subset>.json, or <subset>/_annotations.coco.json beside the images.

    An image that a JSON file lists without annotations is good. Images are looked for beside the JSON file, in
    images/<subset>, images, <subset> and the folder of the export.

    Args:
        data: Data root.

    Raises:
        UsageError: No training image is good, or a JSON file is not valid.
    """
    return exports(data, _KIND, _read)


def _read(data: Store, prefix: str) -> Export | None:
    contents = {name: content for name in _tables(data, prefix) if (content := _content(data, name)) is not None}
    if not contents:
        return None
    export = Export()
    files = Files.below(data, prefix, export)
    listed: dict[str, str] = {}
    for name, content in contents.items():
        try:
            for image_name in _add_images(export, files, name.removeprefix(prefix), content):
                if image_name in listed:
                    raise ValueError(f"{image_name} is also listed in {listed[image_name]}; keep one of them")
                listed[image_name] = name
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise malformed(data, name, _KIND, error) from error
    for image_name, (path, _) in files.images().items():
        if image_name not in listed:
            export.passed_over(path, f"excluded, because no {_KIND} file lists it.")
    return export


def _tables(data: Store, prefix: str) -> list[str]:
    """Return the names of the JSON files that may be of COCO."""
    folders = data.folders(prefix.rstrip("/"))
    if "annotations" in folders:
        names = [info.base_name for info in data.files(f"{prefix}annotations", recursive=False)]
        tables = [name for name in names if name.endswith(".json")]
        instances = [name for name in tables if name.startswith("instances_")]
        return [f"{prefix}annotations/{name}" for name in instances or tables]
    beside = [f"{prefix}{folder}/{_BESIDE}" for folder in folders if data.exists(f"{prefix}{folder}/{_BESIDE}")]
    if beside:
        return beside
    names = [info.base_name for info in data.files(prefix.rstrip("/"), recursive=False)]
    return [f"{prefix}{name}" for name in names if name in _AT_ROOT or re.fullmatch(r"instances_.+\.json", name)]


def _content(data: Store, name: str) -> Mapping[str, Any] | None:
    """Return the content of a COCO file; None if it is another JSON file."""
    content = read_json(data, name, _KIND)
    is_coco = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))
    return content if is_coco else None


def _add_images(export: Export, files: Files, table: str, content: Mapping[str, Any]) -> list[str]:
    """Add the images of a COCO file; return their names below the folder of the export."""
    names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", ())}
    of_image: dict[Any, list[Mapping[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
    for annotation in content["annotations"]:
        if annotation["image_id"] not in of_image:
            raise ValueError(f"an annotation belongs to image {annotation['image_id']}, which is not listed")
        of_image[annotation["image_id"]].append(annotation)
    subset, listed = _subset(table), []
    for entry in content["images"]:
        found = _find(files, table, subset, str(entry["file_name"]))
        if found is None:
            export.passed_over(str(entry["file_name"]), f"listed in {table}, but the file does not exist.")
            continue
        size = [entry["height"], entry["width"]] if "height" in entry and "width" in entry else None
        outlined = [
            (_name(annotation["category_id"], names), shape)
            for annotation in of_image[entry["id"]]
            for shape in _shapes(annotation, size)
        ]
        name, image = found
        listed.append(name)
        export.add(image, subset, outlined, files.by_name[table])
    return listed


def _name(number: Any, names: Mapping[Any, str]) -> str:
    """Return the name of a category of annotations."""
    if number not in names:
        raise ValueError(f"category_id {number} is not listed in categories")
    return names[number]


def _subset(table: str) -> str:
    """Return the subset of a COCO file: its folder if it lies beside the images, else the end of its name."""
    path = PurePosixPath(table)
    if path.name == _BESIDE:
        return path.parent.name
    return path.stem.removeprefix("instances_")


def _find(files: Files, table: str, subset: str, file_name: str) -> tuple[str, File] | None:
    """Return an image, by its name below the folder of the export; None if it does not exist."""
    own = str(PurePosixPath(table).parent)
    for folder in (own, f"images/{subset}", "images", subset, ""):
        name = str(PurePosixPath(folder, file_name))
        if name in files.by_name:
            return name, files.by_name[name]
    return None


def _shapes(annotation: Mapping[str, Any], size: Sequence[Any] | None) -> list[Shape | None]:
    """Return the shapes of an annotation; [None] if it has no area."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return [coco_runs(segmentation, size)]
    if segmentation:
        return [polygon(points) for points in segmentation]
    return [box(annotation["bbox"])] if annotation.get("bbox") else [None]
