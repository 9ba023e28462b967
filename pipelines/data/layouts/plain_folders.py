"""Layout of plain folders: one folder of good images and one per defect in each category."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from pipelines.data.discovery import image_folders, is_filled, named
from pipelines.data.layouts.categories import Categories, Place
from pipelines.data.layouts.defect_folders import walk_folders
from pipelines.data.mask_files import half_of, is_good_name, is_mask_folder
from pipelines.data.records import TEST, TRAIN
from pipelines.storage.store import Store, side_by_side


def folders(data: Store) -> Categories:
    """Find plain folders: <category>/good and <category>/<defect>.

    If these folders are directly below the root, the root is the only category. `ok` and `normal` also mean good. Good
    images are training images, and defective images are test images. A folder `validation` or `test` of the category
    may contain further images, as in MVTec AD's layout.

    Args:
        data: Data root.
    """
    names = image_folders(data)
    if _has_good(data, "", names):
        return _walks(data, [Place(PurePosixPath(data.root).name, "")])
    masks = [name for name in names if is_mask_folder(name)]
    names = [name for name in names if half_of(name) is None and name not in masks]
    subfolders = dict(zip(names, side_by_side(data.folders, names), strict=True))
    good = [name for name in names if any(is_good_name(folder) for folder in subfolders[name])]
    if not any(_has_good(data, f"{name}/", subfolders[name]) for name in good):
        return {}
    halves = [
        name
        for name in names
        if name not in good and any(half_of(folder) in (TRAIN, TEST) for folder in subfolders[name])
    ]
    sentences = [f"{named(halves)}: not used, because it has no folder good, ok or normal."] if halves else []
    why = "not used, because masks are read from the folder of their category. Move them there."
    sentences += [f"{named(masks)}: {why}"] if masks else []
    notes = tuple(sentences)
    return _walks(data, [Place(name, name, notes) for name in good])


def _walks(data: Store, places: list[Place]) -> Categories:
    return {place.category: partial(walk_folders, data, place, has_halves=False) for place in places}


def _has_good(data: Store, prefix: str, names: Sequence[str]) -> bool:
    """Return whether one of the folders below a prefix is called good and is not empty."""
    return any(is_good_name(name) and is_filled(data, f"{prefix}{name}") for name in names)
