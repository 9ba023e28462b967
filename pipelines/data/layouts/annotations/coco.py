"""Layout of COCO exports: one JSON file per subset, with polygons, run lengths or boxes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

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
    images/<subset>, images, <subset> and the folder of the export; a path of another machine is matched by its base
    name if only one image has it.

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
    taken = {found for name, content in contents.items() for found in _found(files, name.removeprefix(prefix), content)}
    for name, content in contents.items():
        try:
            for image_name in _add_images(export, files, name.removeprefix(prefix), content, taken=taken):
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


def _add_images(
    export: Export, files: Files, table: str, content: Mapping[str, Any], *, taken: Collection[str]
) -> list[str]:
    """Add the images of a COCO file; return their names below the folder of the export."""
    names = {_id(entry["id"]): str(entry["name"]) for entry in content.get("categories", ())}
    of_image: dict[str, list[Mapping[str, Any]]] = {_id(entry["id"]): [] for entry in content["images"]}
    for annotation in content["annotations"]:
        if _id(annotation["image_id"]) not in of_image:
            raise ValueError(f"an annotation belongs to image {annotation['image_id']}, which is not listed")
        of_image[_id(annotation["image_id"])].append(annotation)
    subset, listed = _subset(table), []
    for entry in content["images"]:
        path = str(entry["file_name"])
        name = files.find(path, _folders(table))
        if name is None and (name := files.find_base(path, taken)) is not None:
            export.passed_over(
                files.by_name[name][0], f"found by its base name, because its path in {table} is another."
            )
        if name is None:
            export.not_found(path, f"listed in {table}, but the file does not exist.")
            continue
        size = [entry["height"], entry["width"]] if "height" in entry and "width" in entry else None
        outlined = [
            (_name(annotation["category_id"], names), shape)
            for annotation in of_image[_id(entry["id"])]
            for shape in _shapes(annotation, size)
        ]
        listed.append(name)
        export.add(files.by_name[name], subset, outlined, files.by_name[table])
    return listed


def _found(files: Files, table: str, content: Mapping[str, Any]) -> list[str]:
    """Return the names of the images that exist where a COCO file says."""
    entries = [entry for entry in content["images"] if isinstance(entry, dict)]
    found = (files.find(str(entry.get("file_name")), _folders(table)) for entry in entries)
    return [name for name in found if name is not None]


def _id(number: Any) -> str:
    """Return an id as text, because some tools write '0' in one place and 0 or 0.0 in another."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def _name(number: Any, names: Mapping[str, str]) -> str:
    """Return the name of a category of annotations."""
    if _id(number) not in names:
        raise ValueError(f"category_id {number} is not listed in categories")
    return names[_id(number)]


def _subset(table: str) -> str:
    """Return the subset of a COCO file: its folder if it lies beside the images, else the end of its name."""
    path = PurePosixPath(table)
    if path.name == _BESIDE:
        return path.parent.name
    return path.stem.removeprefix("instances_")


def _folders(table: str) -> tuple[str, ...]:
    """Return the folders that the paths in a COCO file may be relative to."""
    subset = _subset(table)
    return (str(PurePosixPath(table).parent), f"images/{subset}", "images", subset, "")


def _shapes(annotation: Mapping[str, Any], size: Sequence[Any] | None) -> list[Shape | None]:
    """Return the shapes of an annotation; [None] if it has no area."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return [coco_runs(segmentation, size)]
    if segmentation:
        return [polygon(points) for points in segmentation]
    return [box(annotation["bbox"])] if annotation.get("bbox") else [None]
