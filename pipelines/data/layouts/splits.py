"""Layouts with folders for training and testing: MVTec AD and the datasets in its form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from pipelines.data.discovery import image_folders, is_filled, named
from pipelines.data.layouts.categories import Categories, Place
from pipelines.data.layouts.defect_folders import walk_folders
from pipelines.data.mask_files import IMAGE_FOLDERS, half_of, is_good_name, is_mask_folder
from pipelines.data.records import TEST, TRAIN
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side

_BTAD_GOOD = "ok"


def mvtec(data: Store) -> Categories:
    """Find MVTec AD's layout: <category>/train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png.

    Further halves are `validation` and several folders of test images (`test_public`, `test_private`); names of halves,
    of good images and of masks vary, see `pipelines.data.mask_files`. One of the folders of training and of test images
    may be missing in a category. The data root may also be one category, or contain folders of categories.

    Args:
        data: Data root.

    Raises:
        UsageError: Two folders of categories contain the same category.
    """
    places, good_names = _find(data)
    return _walks(data, places) if good_names - {_BTAD_GOOD} else {}


def btad(data: Store) -> Categories:
    """Find BTAD's layout: MVTec AD's with `ok` for all good training images, and masks named <stem>.png or <stem>.bmp.

    Args:
        data: Data root.

    Raises:
        UsageError: Two folders of categories contain the same category.
    """
    places, good_names = _find(data)
    return _walks(data, places) if good_names == {_BTAD_GOOD} else {}


def _walks(data: Store, places: Sequence[Place]) -> Categories:
    return {place.category: partial(walk_folders, data, place, has_halves=True) for place in places}


def _find(data: Store) -> tuple[list[Place], set[str]]:
    """Return the categories, and the names of their folders of good training images; none if there is no such image."""
    names = image_folders(data)
    root = Place(PurePosixPath(data.root).name, "")
    if good_names := _good_names(data, [root], {"": names}):
        return [root], good_names
    subfolders = dict(zip(names, side_by_side(data.folders, names), strict=True))
    # A folder named like a half or like one of masks is neither if it is a complete category. Beside `images`, a folder
    # of masks has the same folders as the images.
    has_images = any(name.lower() in IMAGE_FOLDERS for name in names)
    special = [
        name
        for name in names
        if (half_of(name) is not None or is_mask_folder(name))
        and ((has_images and is_mask_folder(name)) or not _good_names(data, [Place(name, name)], subfolders))
    ]
    subfolders = {name: inside for name, inside in subfolders.items() if name not in special}
    names = list(subfolders)
    places = [Place(name, name) for name in names if _is_category(subfolders[name])]
    others = {name: inside for name, inside in subfolders.items() if not _is_category(inside)}
    if good_names := _good_names(data, places, subfolders):
        masks = [name for name in special if is_mask_folder(name)]
        why = "not used, because masks are read from the folder of their category. Move them there."
        notes = (*_notes(data, others), *([f"{named(masks)}: {why}"] if masks else []))
        return [replace(place, notes=notes) for place in places], good_names
    return _find_below(data, others)


def _find_below(data: Store, groups: Mapping[str, Sequence[str]]) -> tuple[list[Place], set[str]]:
    """Return categories that are one level deeper, in folders that group them, as `_find` does."""
    folders = [
        f"{group}/{name}"
        for group, names in groups.items()
        for name in names
        if not name.startswith(".") and not is_mask_folder(name)
    ]
    subfolders = _subfolders(data, folders)
    found = [folder for folder in folders if _is_category(subfolders[folder])]
    used = {folder.partition("/")[0] for folder in found}
    others = [group for group, names in groups.items() if names and group not in used]
    notes = (f"{named(others)}: not used, because no category was found in it.",) if others else ()
    places = [Place(folder.partition("/")[2], folder, notes) for folder in found]
    if not (good_names := _good_names(data, places, subfolders)):
        return [], set()
    _check_unique(data, places)
    return places, good_names


def _check_unique(data: Store, places: Sequence[Place]) -> None:
    """Raise UsageError if a category is in several folders."""
    folders: dict[str, list[str]] = {}
    for place in places:
        folders.setdefault(place.category, []).append(place.folder.partition("/")[0])
    category, of_category = max(folders.items(), key=lambda item: len(item[1]))
    if len(of_category) > 1:
        raise UsageError(
            f"--data {data.uri}: the category {category} is in several folders: {named(of_category)}. "
            f"Give one of them, for example --data {data.below(of_category[0]).uri}."
        )


def _is_category(subfolders: Sequence[str]) -> bool:
    """Return whether a folder contains a folder of training or test images."""
    return any(half_of(name) in (TRAIN, TEST) for name in subfolders)


def _good_names(data: Store, places: Sequence[Place], subfolders: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names, in lower case, of the folders of good training images; empty ones do not count.

    Usually the first category says that they are not those of BTAD, so that the others need not be listed.
    """
    found = set()
    for place in places:
        for half in subfolders[place.folder]:
            if half_of(half) != TRAIN:
                continue
            folder = f"{place.prefix}{half}"
            for name in data.folders(folder):
                if is_good_name(name) and is_filled(data, f"{folder}/{name}"):
                    found.add(name.lower())
        if found - {_BTAD_GOOD}:
            break
    return found


def _notes(data: Store, others: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return sentences about folders that are no categories of this layout, but contain categories or good images."""
    plain = [name for name, inside in others.items() if any(is_good_name(folder) for folder in inside)]
    deeper = [f"{name}/{folder}" for name, inside in others.items() if name not in plain for folder in inside]
    groups = [folder.partition("/")[0] for folder, inside in _subfolders(data, deeper).items() if _is_category(inside)]
    return tuple(
        f"{named(names)}: not used, because {why}. Give it as --data of another run."
        for names, why in (
            (plain, "it has no folder train or test"),
            (list(dict.fromkeys(groups)), "its categories are one level deeper"),
        )
        if names
    )


def _subfolders(data: Store, folders: Sequence[str]) -> dict[str, list[str]]:
    """Return the folders in folders two levels below the data root; those that must not be read count as empty."""

    def inside(folder: str) -> list[str]:
        with suppress(PermissionError):  # they may have nothing to do with the dataset
            return data.folders(folder)
        return []

    return dict(zip(folders, side_by_side(inside, folders), strict=True))
