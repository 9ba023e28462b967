"""Layout of VisA, with and without its table of splits."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from pipelines.data.discovery import NO_TRUTH, File, Truth, Walk, files_below, image_folders, named, pictures_in, within
from pipelines.data.image_list import read_list, walk_list
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side

_SPLIT = "split_csv/1cls.csv"
_COLUMNS = {"path": "image", "category": "object"}
_IMAGES, _MASKS = "Data/Images", "Data/Masks/Anomaly"
_ANNOTATIONS = "image_anno.csv"
_NORMAL, _ANOMALY = "Normal", "Anomaly"


def visa(data: Store) -> Categories:
    """Find VisA's layout: <category>/Data/Images/{Normal,Anomaly}, listed in split_csv/1cls.csv.

    Categories that are listed but have no folder are excluded. Without that table there is no split: all normal images
    are training images. The root can also be the folder of one category.

    Args:
        data: Data root.
    """
    if data.exists(_SPLIT):
        images = read_list(data, _SPLIT, _COLUMNS)
        existing = set(image_folders(data))
        return {name: partial(walk_list, data, images, name) for name in images.categories if name in existing}
    names = image_folders(data)
    if "Data" in names and _NORMAL in data.folders(_IMAGES):
        category = PurePosixPath(data.root).name
        return {category: partial(_walk, data, category, "")}
    halves = side_by_side(lambda name: data.folders(f"{name}/{_IMAGES}"), names)
    return {
        name: partial(_walk, data, name, f"{name}/")
        for name, inside in zip(names, halves, strict=True)
        if _NORMAL in inside
    }


def _walk(data: Store, category: str, prefix: str) -> Walk:
    """Return the images of a category without a table of splits; `prefix` is its folder with '/', or empty."""
    walk = Walk()
    files = files_below(data, f"{prefix}Data", walk)
    defects = _defects(data, prefix)
    masks = {PurePosixPath(name).stem: (name, info) for name, info in within(files, f"{prefix}{_MASKS}/")}
    for image in pictures_in(within(files, f"{prefix}{_IMAGES}/{_NORMAL}/"), walk):
        walk.add(category, image, split=TRAIN, defect=GOOD)
    for image in pictures_in(within(files, f"{prefix}{_IMAGES}/{_ANOMALY}/"), walk):
        mask = masks.pop(PurePosixPath(image[0]).stem, None)
        defect = defects.get(image[0].removeprefix(prefix), "anomaly")
        walk.add(category, image, split=TEST, defect=defect, truth=_truth(mask))
    if masks:
        walk.warnings.append(f"{named([name for name, _ in masks.values()])}: mask not used, because it has no image.")
    walk.warnings.append(
        f"No {_SPLIT} in {data.uri}: all normal images are training images, and no test image is good."
    )
    return walk


def _truth(mask: File | None) -> Truth:
    return NO_TRUTH if mask is None else Truth(masks=(mask,))


def _defects(data: Store, prefix: str) -> Mapping[str, str]:
    """Return path below the category -> names of its defects, joined by '+', from image_anno.csv if there is one."""
    name = f"{prefix}{_ANNOTATIONS}"
    if not data.exists(name):
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(data.read(name).decode("utf-8-sig"), newline="")))
        labels = {row["image"]: row["label"].split(",") for row in rows}
    except (UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise UsageError(
            f"{data.below(name).uri} is not a table with the columns image and label ({error}). Restore or remove it."
        ) from error
    # The paths in the table begin with the name of the category.
    return {path.partition("/")[2]: "+".join(word.strip() for word in words) for path, words in labels.items()}
