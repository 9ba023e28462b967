"""Layout of the AITEX fabrics: NODefect_images/<roll>, Defect_images and Mask_images."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pipelines.data.discovery import File, Truth, Walk, files_below, is_filled, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.storage.store import Store

_CATEGORY = "aitex"
_GOOD, _DEFECT, _MASKS = "NODefect_images", "Defect_images", "Mask_images"
_NAME = re.compile(r"\d+_(\d+)_\d+")  # number, code of the defect, fabric
_MASK = re.compile(r"(.+)_mask\d*")
_NO_DEFECT = "000"  # code


def aitex(data: Store) -> Categories:
    """Find AITEX's layout: NODefect_images/<roll>/*.png, Defect_images/<number>_<code>_<fabric>.png, Mask_images.

    One category. The dataset has no split: good images are training images, and defective images are test images. The
    code in the name is the defect. A mask is named <stem>_mask; if there are <stem>_mask1 and <stem>_mask2, they are
    united.

    Args:
        data: Data root.
    """
    return (
        {_CATEGORY: lambda: _walk(data)} if {_GOOD, _DEFECT} <= set(data.folders()) and is_filled(data, _GOOD) else {}
    )


def _walk(data: Store) -> Walk:
    walk = Walk()
    for image in pictures_in(files_below(data, _GOOD, walk), walk):
        walk.add(_CATEGORY, image, split=TRAIN, defect=GOOD)
    masks: dict[str, list[File]] = {}
    if _MASKS in data.folders():
        for file in pictures_in(files_below(data, _MASKS, walk), walk):
            stem = PurePosixPath(file[0]).stem
            match = _MASK.fullmatch(stem)
            masks.setdefault(match[1] if match else stem, []).append(file)
    unclear = []
    for image in pictures_in(files_below(data, _DEFECT, walk), walk):
        stem = PurePosixPath(image[0]).stem
        if match := _NAME.fullmatch(stem):
            defect = GOOD if match[1] == _NO_DEFECT else f"code {match[1]}"
        else:
            defect = None
            unclear.append(image[0])
        walk.add(_CATEGORY, image, split=TEST, defect=defect, truth=Truth(masks=tuple(masks.pop(stem, ()))))
    if unclear:
        walk.warnings.append(
            f"{named(unclear)}: used without a label, because the name is not <number>_<code>_<fabric>, which tells "
            "the code of the defect."
        )
    if unused := sorted(name for files in masks.values() for name, _ in files):
        walk.warnings.append(f"{named(unused)}: mask not used, because {_DEFECT} contains no image of that name.")
    return walk
