"""Layouts of KolektorSDD and KolektorSDD2: each image has a mask beside it, which is black for good images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.data.discovery import File, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD
from pipelines.errors import IMAGE_READ_ERRORS, error_line
from pipelines.storage.store import Store, side_by_side
from reconpatch.imaging.images import read_mask

_TEST_EVERY = 5  # every fifth folder of KolektorSDD is for testing


def kolektorsdd(data: Store) -> Categories:
    """Find KolektorSDD's layout: kos01 ... kos50 with Part0.jpg and its mask Part0_label.bmp, black for good images.

    One category. The dataset has no split. Good images of every fifth folder and all defective images are test images;
    the other good images are training images. No item has good images in both splits.

    Args:
        data: Data root.
    """
    items = [name for name in image_folders(data) if re.fullmatch(r"kos\d+", name)]

    def walk_items() -> Walk:
        walk = Walk()
        tested = set(items[_TEST_EVERY - 1 :: _TEST_EVERY])
        files_of_items = side_by_side(lambda item: files_below(data, item, walk), items)
        files = [file for files_of_item in files_of_items for file in files_of_item]
        for defect, image, mask in _by_black_masks(data, files, "_label", walk):
            is_test = defect != GOOD or image[0].partition("/")[0] in tested
            walk.add(
                "kolektorsdd", image, split="test" if is_test else "train", defect=defect, truth=Truth(masks=(mask,))
            )
        return walk

    return {"kolektorsdd": walk_items} if items else {}


def kolektorsdd2(data: Store) -> Categories:
    """Find KolektorSDD2's layout: train and test with 10000.png and its mask 10000_GT.png, black for good images.

    One category. The defective images of `train` are excluded.

    Args:
        data: Data root.
    """
    splits = [name for name in ("train", "test") if name in data.folders()]
    has_masks = any("_GT." in info.base_name for split in splits for info in data.files(split, recursive=False))

    def walk_splits() -> Walk:
        walk = Walk()
        for split in splits:
            left_out = []
            for defect, image, mask in _by_black_masks(data, files_below(data, split, walk), "_GT", walk):
                if split == "train" and defect != GOOD:
                    left_out.append(image[0])
                else:
                    walk.add("kolektorsdd2", image, split=split, defect=defect, truth=Truth(masks=(mask,)))
            if left_out:
                walk.warnings.append(f"{named(left_out)}: excluded from training, because the mask is not black.")
        return walk

    return {"kolektorsdd2": walk_splits} if has_masks else {}


def _by_black_masks(data: Store, files: Sequence[File], ending: str, walk: Walk) -> list[tuple[str, File, File]]:
    """Return (defect, image, mask) of images with a mask `<stem><ending>` beside them; defect is `GOOD` or 'defect'.

    All masks are read, which takes seconds for thousands of masks.
    """
    pictures = list(pictures_in(files, walk))
    by_stem = {str(PurePosixPath(name).with_suffix("")): (name, info) for name, info in pictures}
    pairs = [(file, by_stem[f"{stem}{ending}"]) for stem, file in by_stem.items() if f"{stem}{ending}" in by_stem]
    used = {mask[0] for _, mask in pairs} | {image[0] for image, _ in pairs}
    if unpaired := [name for name, _ in pictures if name not in used]:
        walk.warnings.append(f"{named(unpaired)}: excluded, because the image or its mask (<stem>{ending}) is missing.")
    labeled = []
    defects = side_by_side(lambda pair: _defect_by_mask(data, pair[1][0]), pairs)
    for (image, mask), defect in zip(pairs, defects, strict=True):
        if isinstance(defect, str):
            labeled.append((defect, image, mask))
        else:
            walk.warnings.append(f"{mask[0]}: {error_line(defect)} The image is excluded.")
    return labeled


def _defect_by_mask(data: Store, mask: str) -> str | Exception:
    """Return 'defect' if a mask has a pixel that is not black, else `GOOD`; or the error if it cannot be read."""
    try:
        return "defect" if read_mask(data.read_picture(mask)).any() else GOOD
    except IMAGE_READ_ERRORS as error:
        return error
