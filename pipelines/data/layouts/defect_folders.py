"""Categories whose folders are named after a half (`train`, `validation`, `test`), `good` or a defect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.data.discovery import File, Truth, Walk, files_below, named, pictures_in
from pipelines.data.layouts.categories import Place
from pipelines.data.mask_files import half_of, is_good_name, is_mask_folder, separate_masks
from pipelines.data.records import GOOD, TEST, TRAIN, VALIDATION
from pipelines.storage.store import Store

INCOMING = "incoming"  # folder of a category with new images for nightly runs
_ORDER = (TRAIN, VALIDATION, TEST)
_PART_AND_LIGHT = re.compile(r"(\d+)_([a-z]\w*)")  # names of MVTec AD 2: 000_regular, 000_shift_1


@dataclass(frozen=True)
class _Position:
    """What the folders of an image say about it.

    Attributes:
        split: 'train', 'validation' or 'test'; None if the image is not used.
        defect: `GOOD`, the name of a defect, or None if it is not known; without a split, why the image is not used,
            empty if that needs no mention.
    """

    split: str | None
    defect: str | None


_NO_MENTION = _Position(None, "")
_NO_FOLDER = _Position(None, "not used, because it is in no folder that tells whether it is good.")
_NO_HALF = _Position(None, "not used, because it is in no folder train, validation or test.")
_BAD_TRAIN = _Position(None, "excluded from training, because its folder is not called good, ok or normal.")
_BAD_VALIDATION = _Position(None, "excluded from validation, because its folder is not called good, ok or normal.")


def walk_folders(data: Store, place: Place, *, has_halves: bool) -> Walk:
    """List the images of a category by the names of their folders.

    * <half>/good/... and <half>/<lot>/good/... are good images of a half. Images directly in the half 'test' have no
      label.
    * <half>/<defect>/... are test images with a defect; in the other halves they are left out.
    * Without halves, good/... are training images and <defect>/... are test images with a defect.

    Images that are left out, and masks that match no image, are named in a warning.

    Args:
        data: Data root.
        place: Category and its folder.
        has_halves: Whether only images in halves are used; otherwise folders beside them may contain images, too.

    Returns:
        Images, in the order train, validation, test, and warnings.
    """
    walk = Walk(warnings=list(place.notes))
    separated = separate_masks(pictures_in(files_below(data, place.folder, walk), walk), place.prefix)
    walk.warnings += separated.notes
    left_out: dict[str, list[str]] = {}
    found: list[tuple[File, _Position]] = []
    for file in separated.images:
        position = _position(file[0].removeprefix(place.prefix).split("/")[:-1], has_halves=has_halves)
        if position.split is not None:
            found.append((file, position))
        elif position.defect:
            left_out.setdefault(position.defect, []).append(file[0])
    found.sort(key=lambda image: _ORDER.index(str(image[1].split)))  # stable: by path within a split
    has_lights = _has_lights([file[0].removeprefix(place.prefix) for file, _ in found])
    for file, position in found:
        masks = separated.masks_of.get(file[0], ())
        part_id, view = _part_and_light(file[0], place.prefix) if has_lights else (None, None)
        truth = Truth(masks=masks, part_id=part_id, view=view)
        walk.add(place.category, file, split=str(position.split), defect=position.defect, truth=truth)
    walk.warnings += [f"{named(names)}: {reason}" for reason, names in left_out.items()]
    return walk


def _position(folders: Sequence[str], *, has_halves: bool) -> _Position:
    """Return what the folders of an image below its category say about it."""
    if not folders:
        return _NO_HALF if has_halves else _NO_FOLDER
    if (half := half_of(folders[0])) is not None:
        return _in_half(half, folders[1:])
    if folders[0].lower() == INCOMING:
        return _NO_MENTION
    if has_halves:
        return _NO_MENTION if is_mask_folder(folders[0]) else _NO_HALF
    return _Position(TRAIN, GOOD) if is_good_name(folders[0]) else _Position(TEST, folders[0])


def _in_half(half: str, folders: Sequence[str]) -> _Position:
    """Return what the folders of an image in a half say about it; the folder `good` can lie in folders of lots."""
    if any(is_good_name(folder) for folder in folders):
        return _Position(half, GOOD)
    if half == TEST:
        return _Position(TEST, folders[0] if folders else None)
    if not folders:
        return _NO_FOLDER
    return _BAD_TRAIN if half == TRAIN else _BAD_VALIDATION


def _has_lights(names: Sequence[str]) -> bool:
    """Return whether the names are those of MVTec AD 2: a half `test_public` or `test_private`, and 000_regular.png."""
    return any(name.lower().startswith(("test_public/", "test_private/")) for name in names) and all(
        _PART_AND_LIGHT.fullmatch(name.rpartition("/")[2].rpartition(".")[0]) for name in names
    )


def _part_and_light(name: str, prefix: str) -> tuple[str, str]:
    """Return workpiece and light of an image of MVTec AD 2; numbers are those of workpieces within a folder."""
    folder, _, file = name.removeprefix(prefix).rpartition("/")
    number, _, light = file.rpartition(".")[0].partition("_")
    return f"{folder}/{number}", light
