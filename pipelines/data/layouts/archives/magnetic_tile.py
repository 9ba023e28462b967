"""Layout of the magnetic tile defects, as archived by their authors: MT_<defect>/Imgs/<stem>.jpg with <stem>.png."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.data.discovery import File, Truth, Walk, files_below, image_folders, is_filled, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.storage.store import Store, side_by_side

_CATEGORY, _PREFIX, _GOOD = "magnetic_tile", "MT_", "MT_Free"
_MASK_SUFFIX = ".png"


def magnetic_tile(data: Store) -> Categories:
    """Find the layout of the magnetic tiles: MT_Free/Imgs with good images, and MT_<defect>/Imgs.

    One category. A mask is the .png file beside an image of the same stem. The folder is the label, because some masks
    of defective tiles are black. The dataset has no split: good images are training images, and defective images are
    test images.

    Args:
        data: Data root.
    """
    names = [name for name in image_folders(data) if name.startswith(_PREFIX)]
    return {_CATEGORY: lambda: _walk(data, names)} if _GOOD in names and is_filled(data, _GOOD) else {}


def _walk(data: Store, names: Sequence[str]) -> Walk:
    walk = Walk()
    files = [file for listed in side_by_side(lambda name: files_below(data, name, walk), names) for file in listed]
    masks: dict[str, File] = {}
    images: list[File] = []
    for file in pictures_in(files, walk):
        path = PurePosixPath(file[0])
        if path.suffix.lower() == _MASK_SUFFIX:
            masks[str(path.with_suffix(""))] = file
        else:
            images.append(file)
    for image in images:
        folder = image[0].partition("/")[0]
        mask = masks.pop(str(PurePosixPath(image[0]).with_suffix("")), None)
        if folder == _GOOD:
            walk.add(_CATEGORY, image, split=TRAIN, defect=GOOD)
        else:
            truth = Truth(masks=() if mask is None else (mask,))
            walk.add(_CATEGORY, image, split=TEST, defect=folder.removeprefix(_PREFIX), truth=truth)
    if masks:
        names_of_masks = [name for name, _ in masks.values()]
        walk.warnings.append(f"{named(names_of_masks)}: mask not used, because there is no image of the same stem.")
    return walk
