"""Layout of Datumaro exports: one JSON file per subset, with polygons, run lengths, boxes and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipelines.data.discovery import File
from pipelines.data.layouts.annotations.exports import Export, Files, exports, malformed, read_json
from pipelines.data.layouts.annotations.outlines import Shape, box, coco_runs, polygon
from pipelines.data.layouts.categories import Categories
from pipelines.storage.store import Store
from reconpatch.imaging.images import SUFFIXES

_KIND = "Datumaro"


def datumaro(data: Store) -> Categories:
    """Find Datumaro exports: annotations/<subset>.json and images/<subset>/.

    An image without annotations is good, as is one whose only labels are good, ok or normal.

    Args:
        data: Data root.

    Raises:
        UsageError: No training image is good, or a JSON file is not valid.
    """
    return exports(data, _KIND, _read)


def _read(data: Store, prefix: str) -> Export | None:
    if not {"annotations", "images"} <= set(data.folders(prefix.rstrip("/"))):
        return None
    names = [info.base_name for info in data.files(f"{prefix}annotations", recursive=False)]
    tables = [f"{prefix}annotations/{name}" for name in names if name.endswith(".json")]
    contents = {name: content for name in tables if (content := _content(data, name)) is not None}
    if not contents:
        return None
    export, listed = Export(), set()
    files = Files.below(data, prefix, export)
    for name, content in contents.items():
        try:
            listed |= _add_items(export, files, name.removeprefix(prefix), content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise malformed(data, name, _KIND, error) from error
    for name, (path, _) in files.images("images/").items():
        if name not in listed:
            export.passed_over(path, f"excluded, because no {_KIND} file lists it.")
    return export


def _content(data: Store, name: str) -> Mapping[str, Any] | None:
    """Return the content of a Datumaro file; None if it is another JSON file."""
    content = read_json(data, name, _KIND)
    is_datumaro = isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content
    return content if is_datumaro else None


def _add_items(export: Export, files: Files, table: str, content: Mapping[str, Any]) -> set[str]:
    """Add the items of a Datumaro file; return the names of their images below the folder of the export."""
    labels = [str(entry["name"]) for entry in content["categories"].get("label", {}).get("labels", ())]
    subset, listed = PurePosixPath(table).stem, set()
    for item in content["items"]:
        media = item.get("image") or item.get("media") or {}
        found = _find(files, subset, str(item["id"]), str(media.get("path") or ""))
        if found is None:
            export.not_found(str(item["id"]), f"listed in {table}, but the image does not exist.")
            continue
        name, image = found
        listed.add(name)
        outlined = [
            (_label(annotation.get("label_id"), labels), _shape(annotation, media.get("size")))
            for annotation in item["annotations"]
        ]
        export.add(image, subset, outlined, files.by_name[table])
    return listed


def _label(number: int | None, labels: Sequence[str]) -> str:
    """Return the name of a label; 'defect' for an annotation without a label."""
    if number is None:
        return "defect"
    if not 0 <= number < len(labels):
        raise ValueError(f"label_id {number} is not one of the {len(labels)} labels")
    return labels[number]


def _find(files: Files, subset: str, item: str, path: str) -> tuple[str, File] | None:
    """Return the image of an item, by its name below the folder of the export; None if it does not exist.

    The name is the item's path, or else its id; a '/' of an id can also be written as '_'.
    """
    words = [path, *(f"{stem}{suffix}" for stem in (item, item.replace("/", "_")) for suffix in _suffixes(files))]
    folders = (f"images/{subset}", "images")
    names = (files.find(word, folders) for word in words if word)
    return next(((name, files.by_name[name]) for name in names if name is not None), None)


def _suffixes(files: Files) -> Sequence[str]:
    """Return the suffixes of images that the export has, as they are spelled."""
    return sorted({suffix for name in files.by_name if (suffix := PurePosixPath(name).suffix).lower() in SUFFIXES})


def _shape(annotation: Mapping[str, Any], size: Sequence[Any] | None) -> Shape | None:
    """Return the shape of an annotation; None if it has no area."""
    kind = annotation["type"]
    if kind == "polygon":
        return polygon(annotation["points"])
    if kind == "bbox":
        return box(annotation["bbox"])
    if kind == "mask":
        return coco_runs(annotation["rle"], size)
    return None
