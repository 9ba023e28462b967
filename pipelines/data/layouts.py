"""Directory layouts of a data root; docs/data.md shows an example of each.

To add a layout, write one function and register it under a name in `LAYOUTS`; `--layout` offers it from there. The
function takes the data root and returns category -> a function without arguments that lists the category, or an empty
mapping if the root has another layout. It must be fast, because 'auto' tries all layouts: list a few folders, but no
images. The function of a category returns a `Walk`, to which it has added each image with split, defect and mask:

    def flat(data: Store) -> Categories:
        # <category>/*.png, all good training images
        def walk_category(category: str) -> Walk:
            walk = Walk()
            for image in pictures_in(files_below(data, category, walk), walk):
                walk.add(category, image, split="train", defect=GOOD)
            return walk

        return {category: partial(walk_category, category) for category in image_folders(data)}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from pipelines.data.discovery import (
    File,
    Masks,
    Walk,
    by_folder,
    files_below,
    image_folders,
    named,
    pictures_in,
    within,
)
from pipelines.data.image_list import read_list, walk_list
from pipelines.data.records import GOOD
from pipelines.errors import IMAGE_READ_ERRORS, UsageError, error_line
from pipelines.storage.store import Store, side_by_side
from reconpatch.imaging.images import read_mask

Categories = Mapping[str, Callable[[], Walk]]

AUTO, MVTEC, LIST = "auto", "mvtec", "list"
_GOOD_FOLDERS = frozenset({"good", "ok", "normal"})
_MASK_FOLDERS = ("ground_truth", "mask", "masks")
_NO_DEFECTS = frozenset({*_MASK_FOLDERS, "incoming"})  # `incoming` contains new images for nightly runs
_VISA_SPLIT = "split_csv/1cls.csv"
_VISA_COLUMNS = {"path": "image", "category": "object"}
_TEST_EVERY = 5  # every fifth folder of KolektorSDD is for testing


def mvtec(data: Store) -> Categories:
    """Find MVTec AD's layout: <category>/train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png.

    One of the folders `train` and `test` may be missing.

    Args:
        data: Data root.
    """
    categories = _with_splits(data)
    if _good_folder(data, categories) != GOOD:
        return {}
    return {category: partial(_walk_splits, data, category, GOOD) for category in categories}


def btad(data: Store) -> Categories:
    """Find BTAD's layout: MVTec AD's with `ok` instead of `good`, and with masks named <stem>.png or <stem>.bmp.

    Args:
        data: Data root.
    """
    categories = _with_splits(data)
    if _good_folder(data, categories) != "ok":
        return {}
    return {category: partial(_walk_splits, data, category, "ok") for category in categories}


def visa(data: Store) -> Categories:
    """Find VisA's layout: <category>/Data/Images/..., listed in split_csv/1cls.csv.

    Categories that are listed but have no folder are excluded.

    Args:
        data: Data root.
    """
    if not data.exists(_VISA_SPLIT):
        return {}
    existing = set(image_folders(data))
    categories = read_list(data, _VISA_SPLIT, _VISA_COLUMNS)
    return {
        category: partial(walk_list, data, _VISA_SPLIT, category, rows)
        for category, rows in categories.items()
        if category in existing
    }


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
            walk.add("kolektorsdd", image, split="test" if is_test else "train", defect=defect, mask=mask)
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
                    walk.add("kolektorsdd2", image, split=split, defect=defect, mask=mask)
            if left_out:
                walk.warnings.append(f"{named(left_out)}: excluded from training, because the mask is not black.")
        return walk

    return {"kolektorsdd2": walk_splits} if has_masks else {}


def folders(data: Store) -> Categories:
    """Find plain folders: <category>/good and <category>/<defect>.

    If these folders are directly below the root, the root is the only category. `ok` and `normal` also mean good.
    There is no split: good images are training images, and defective images are test images.

    Args:
        data: Data root.
    """
    names = [name for name in image_folders(data) if name not in ("train", "test", *_MASK_FOLDERS)]
    if _has_good(names):
        category = PurePosixPath(data.root).name
        return {category: partial(_walk_folders, data, category, "")}
    subfolders = side_by_side(data.folders, names)
    return {
        name: partial(_walk_folders, data, name, name)
        for name, inside in zip(names, subfolders, strict=True)
        if _has_good(inside)
    }


def listed(data: Store) -> Categories:
    """Read a list of images, CSV or Parquet, that is given as `--data`; see `pipelines.data.image_list`.

    Args:
        data: Data root; `data.listed` is the name of the list.
    """
    if not data.listed:
        return {}
    categories = read_list(data, data.listed)
    return {category: partial(walk_list, data, data.listed, category, rows) for category, rows in categories.items()}


# 'auto' tries the layouts in this order and takes the first one that finds a category.
LAYOUTS: Mapping[str, Callable[[Store], Categories]] = {
    MVTEC: mvtec,
    "btad": btad,
    "visa": visa,
    "kolektorsdd": kolektorsdd,
    "kolektorsdd2": kolektorsdd2,
    "folders": folders,
    LIST: listed,
}


def find_layout(data: Store, layout: str = AUTO) -> tuple[str, Categories]:
    """Return the name of the layout of a data root, and its categories.

    Args:
        data: Data root.
        layout: Key of `LAYOUTS`; 'auto' selects the first layout that finds a category.

    Returns:
        Key of `LAYOUTS`, and category -> the function that lists it.

    Raises:
        UsageError: No category is found, or `layout` does not fit `--data`.
    """
    if data.listed and layout not in (AUTO, LIST):
        raise UsageError(f"--layout {layout} does not apply to a list of images ({data.listed}). Omit --layout.")
    tried = [layout] if layout != AUTO else [LIST] if data.listed else list(LAYOUTS)
    for name in tried:
        if categories := LAYOUTS[name](data):
            return name, categories
    if data.listed:
        raise UsageError(f"--data {data.below(data.listed).uri}: the list contains no image.")
    if data.filesystem.get_file_info(data.path()).type != pafs.FileType.Directory:
        raise UsageError(f"--data {data.uri}: the folder does not exist.")
    if layout == LIST:
        raise UsageError(f"--layout list: --data {data.uri} is a folder. Give a .csv or .parquet file.")
    if layout not in (AUTO, MVTEC):
        raise UsageError(f"--data {data.uri}: no category found in layout '{layout}'. Omit --layout to detect it.")
    raise UsageError(
        f"--data {data.uri}: no category found. A category is a folder with good images in <category>/train/good."
    )


def _with_splits(data: Store) -> list[str]:
    """Return the folders that contain a folder `train` or `test`."""
    names = image_folders(data)
    subfolders = side_by_side(data.folders, names)
    return [name for name, inside in zip(names, subfolders, strict=True) if {"train", "test"} & set(inside)]


def _good_folder(data: Store, categories: Sequence[str]) -> str:
    """Return the name of the folders of good images: 'ok' if a category has train/ok and none has train/good."""
    good_folder = GOOD
    for category in categories:
        subfolders = data.folders(f"{category}/train")
        if GOOD in subfolders:  # usually true for the first category, so that the others need not be listed
            return GOOD
        if "ok" in subfolders:
            good_folder = "ok"
    return good_folder


def _walk_splits(data: Store, category: str, good: str) -> Walk:
    walk = Walk()
    files = files_below(data, category, walk)
    for image in pictures_in(within(files, f"{category}/train/{good}/"), walk):
        walk.add(category, image, split="train", defect=GOOD)
    for name, inside in by_folder(files, f"{category}/test/").items():  # skips files directly in test/: no label
        folder = _DefectFolder(category, GOOD if name in (good, GOOD) else name, f"{category}/test/{name}/")
        _add_tests(walk, folder, inside, Masks(files, f"{category}/ground_truth/{name}/"))
    return walk


def _walk_folders(data: Store, category: str, root: str) -> Walk:
    walk = Walk()
    files = files_below(data, root, walk)
    prefix = f"{root}/" if root else ""
    folders = by_folder(files, prefix)
    mask_folder = next((name for name in _MASK_FOLDERS if name in folders), _MASK_FOLDERS[0])
    for name, inside in folders.items():
        if name.lower() in _GOOD_FOLDERS:
            for image in pictures_in(inside, walk):
                walk.add(category, image, split="train", defect=GOOD)
        elif name not in _NO_DEFECTS:
            folder = _DefectFolder(category, name, f"{prefix}{name}/")
            _add_tests(walk, folder, inside, Masks(files, f"{prefix}{mask_folder}/{name}/"))
    return walk


def _has_good(names: Iterable[str]) -> bool:
    return any(name.lower() in _GOOD_FOLDERS for name in names)


@dataclass(frozen=True)
class _DefectFolder:
    """A folder of test images with the same defect, or of good ones; `prefix` is its name below the root, with '/'."""

    category: str
    defect: str
    prefix: str


def _add_tests(walk: Walk, folder: _DefectFolder, files: Sequence[File], masks: Masks) -> None:
    """Add the test images of a folder, each with its mask."""
    is_good = folder.defect == GOOD
    for image in pictures_in(files, walk):
        mask = None if is_good else masks.find(image[0].removeprefix(folder.prefix))
        walk.add(folder.category, image, split="test", defect=folder.defect, mask=mask)
    if not is_good and (unused := masks.unused()):
        walk.warnings.append(
            f"{named(unused)}: mask not used, because {folder.prefix.rstrip('/')} contains no image of that name."
        )


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
