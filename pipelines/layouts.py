"""Layouts: how images lie below a data root, and what that says of them. docs/data.md shows each.

A layout is one function. It looks at a root and returns the categories that it finds there, each with a function that
walks it; none where the root is not laid out so. What it finds it adds to a `Walk`: the split, what the defect is
called, the picture, and its mask. An entry in `LAYOUTS` makes it known to `--layout`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from pipelines.image_list import read_list, walk_list
from pipelines.storage import Store, side_by_side
from pipelines.usage import UsageError
from pipelines.walk import (
    GOOD,
    UNREADABLE,
    File,
    Masks,
    Walk,
    by_folder,
    files_below,
    image_folders,
    named,
    pictures_in,
    reason_of,
    within,
)
from reconpatch.images import read_mask

Categories = Mapping[str, Callable[[], Walk]]

AUTO, MVTEC, LIST = "auto", "mvtec", "list"
_GOOD_FOLDERS = frozenset({"good", "ok", "normal"})
_MASK_FOLDERS = ("ground_truth", "mask", "masks")
_NO_DEFECTS = frozenset({*_MASK_FOLDERS, "incoming"})  # `incoming`: where nights look for images that nobody has judged
_VISA_SPLIT = "split_csv/1cls.csv"
_VISA_COLUMNS = {"path": "image", "category": "object"}
_TEST_EVERY = 5  # of KolektorSDD's folders


def mvtec(data: Store) -> Categories:
    """MVTec AD: <category>/train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png; a `train` or a `test` is
    enough."""
    found = _with_halves(data)
    if _good_folder(data, found) != GOOD:
        return {}
    return {category: partial(_walk_halves, data, category, GOOD) for category in found}


def btad(data: Store) -> Categories:
    """BTAD: the same with `ok` where MVTec AD has `good`, and masks <stem>.png or .bmp."""
    found = _with_halves(data)
    if _good_folder(data, found) != "ok":
        return {}
    return {category: partial(_walk_halves, data, category, "ok") for category in found}


def visa(data: Store) -> Categories:
    """VisA: <category>/Data/Images/..., and split_csv/1cls.csv, which lists them; categories that are not there are
    passed over."""
    if not data.exists(_VISA_SPLIT):
        return {}
    there = set(image_folders(data))
    rows = read_list(data, _VISA_SPLIT, _VISA_COLUMNS)
    return {name: partial(walk_list, data, _VISA_SPLIT, name, mine) for name, mine in rows.items() if name in there}


def kolektorsdd(data: Store) -> Categories:
    """KolektorSDD: kos01 ... kos50, in each Part0.jpg and Part0_label.bmp, which is black where nothing is defective.

    One category. The dataset has no split: the good images of every fifth folder are for the test, so that no item is
    on both sides, the other good ones are learned from, and the defective ones are for the test wherever they lie.
    """
    items = [name for name in image_folders(data) if re.fullmatch(r"kos\d+", name)]

    def walk_items() -> Walk:
        walk = Walk()
        tested = set(items[_TEST_EVERY - 1 :: _TEST_EVERY])
        found = side_by_side(lambda item: files_below(data, item, walk), items)
        files = [file for each in found for file in each]
        for defect, picture, mask in _by_black_masks(data, files, "_label", walk):
            test = defect != GOOD or picture[0].partition("/")[0] in tested
            walk.add("kolektorsdd", "test" if test else "train", defect, picture, mask)
        return walk

    return {"kolektorsdd": walk_items} if items else {}


def kolektorsdd2(data: Store) -> Categories:
    """KolektorSDD2: train and test, in each 10000.png and 10000_GT.png, which is black where nothing is defective.

    One category. The defective images of `train` are left out.
    """
    halves = [name for name in ("train", "test") if name in data.folders()]
    masked = any("_GT." in info.base_name for half in halves for info in data.files(half, recursive=False))

    def walk_halves() -> Walk:
        walk = Walk()
        for half in halves:
            left_out = []
            for defect, picture, mask in _by_black_masks(data, files_below(data, half, walk), "_GT", walk):
                if half == "train" and defect != GOOD:
                    left_out.append(picture[0])
                else:
                    walk.add("kolektorsdd2", half, defect, picture, mask)
            if left_out:
                walk.warnings.append(f"{named(left_out)}: defective, and left out of train.")
        return walk

    return {"kolektorsdd2": walk_halves} if masked else {}


def folders(data: Store) -> Categories:
    """Plain folders: <category>/good beside <category>/<defect>, or these right below the root, which is then a
    category of its own name. `ok` and `normal` are good too.

    There is no split: all good images are learned from, and the defective ones are the test.
    """
    names = [name for name in image_folders(data) if name not in ("train", "test", *_MASK_FOLDERS)]
    if _has_good(names):
        category = PurePosixPath(data.root).name
        return {category: partial(_walk_folders, data, category, "")}
    inside = side_by_side(data.folders, names)
    return {
        name: partial(_walk_folders, data, name, name)
        for name, each in zip(names, inside, strict=True)
        if _has_good(each)
    }


def listed(data: Store) -> Categories:
    """A CSV or Parquet file that was given as --data: see `pipelines.image_list`."""
    if not data.listed:
        return {}
    rows = read_list(data, data.listed)
    return {category: partial(walk_list, data, data.listed, category, mine) for category, mine in rows.items()}


# In the order in which they are tried: what looks like two is the first of them.
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
    """A layout's name and the categories that it finds: the one that was named, else the first that finds any.

    Raises:
        UsageError: none does.
    """
    if data.listed and layout not in (AUTO, LIST):
        raise UsageError(f"--layout {layout}: --data is a list of images, {data.listed}; leave --layout out.")
    tried = [layout] if layout != AUTO else [LIST] if data.listed else list(LAYOUTS)
    for name in tried:
        if found := LAYOUTS[name](data):
            return name, found
    if data.listed:
        raise UsageError(f"--data {data.below(data.listed).uri}: lists no image.")
    if data.filesystem.get_file_info(data.path()).type != pafs.FileType.Directory:
        raise UsageError(f"--data {data.uri}: there is no such folder.")
    if layout == LIST:
        raise UsageError(f"--layout list: --data {data.uri} is a folder; give the list, a .csv or .parquet file.")
    if layout not in (AUTO, MVTEC):
        raise UsageError(f"--data {data.uri}: no category in it that is laid out as --layout {layout} says.")
    raise UsageError(
        f"--data {data.uri}: no category in it; a category is a folder with good images in <category>/train/good."
    )


def _with_halves(data: Store) -> list[str]:
    """Folders with a `train` or a `test` in them."""
    names = image_folders(data)
    inside = side_by_side(data.folders, names)
    return [name for name, each in zip(names, inside, strict=True) if {"train", "test"} & set(each)]


def _good_folder(data: Store, categories: Sequence[str]) -> str:
    """What these call good: `ok` where one of them has a train/ok and none a train/good."""
    found = GOOD
    for category in categories:
        inside = data.folders(f"{category}/train")
        if GOOD in inside:  # mostly in the first: the others are not asked
            return GOOD
        if "ok" in inside:
            found = "ok"
    return found


def _walk_halves(data: Store, category: str, good: str) -> Walk:
    walk = Walk()
    files = files_below(data, category, walk)
    for picture in pictures_in(within(files, f"{category}/train/{good}/"), walk):
        walk.add(category, "train", GOOD, picture)
    for folder, inside in by_folder(files, f"{category}/test/").items():  # a loose file in test/ has no label
        defect = GOOD if folder in (good, GOOD) else folder
        masks = Masks(files, f"{category}/ground_truth/{folder}/")
        _add_tests(walk, category, defect, inside, f"{category}/test/{folder}/", masks)
    return walk


def _walk_folders(data: Store, category: str, root: str) -> Walk:
    walk = Walk()
    files = files_below(data, root, walk)
    prefix = f"{root}/" if root else ""
    inside = by_folder(files, prefix)
    masks_in = next((name for name in _MASK_FOLDERS if name in inside), _MASK_FOLDERS[0])
    for folder, mine in inside.items():
        if folder.lower() in _GOOD_FOLDERS:
            for picture in pictures_in(mine, walk):
                walk.add(category, "train", GOOD, picture)
        elif folder not in _NO_DEFECTS:
            masks = Masks(files, f"{prefix}{masks_in}/{folder}/")
            _add_tests(walk, category, folder, mine, f"{prefix}{folder}/", masks)
    return walk


def _has_good(names: Iterable[str]) -> bool:
    return any(name.lower() in _GOOD_FOLDERS for name in names)


def _add_tests(walk: Walk, category: str, defect: str, files: Sequence[File], folder: str, masks: Masks) -> None:
    """The test images of one defect, each with the mask of its stem."""
    for picture in pictures_in(files, walk):
        walk.add(
            category, "test", defect, picture, None if defect == GOOD else masks.find(picture[0].removeprefix(folder))
        )
    if defect != GOOD and (unused := masks.unused()):
        walk.warnings.append(f"{named(unused)}: no image of that stem in {folder.rstrip('/')}; it is not used.")


def _by_black_masks(data: Store, files: Sequence[File], ending: str, walk: Walk) -> list[tuple[str, File, File]]:
    """Pictures that have a mask `<stem><ending>` beside them, each with what that says: `GOOD`, or 'defect'.

    Masks have to be read for it, which takes seconds for thousands.
    """
    pictures = list(pictures_in(files, walk))
    by_stem = {str(PurePosixPath(name).with_suffix("")): (name, info) for name, info in pictures}
    paired = [(file, by_stem[f"{stem}{ending}"]) for stem, file in by_stem.items() if f"{stem}{ending}" in by_stem]
    used = {mask[0] for _, mask in paired} | {picture[0] for picture, _ in paired}
    if strays := [name for name, _ in pictures if name not in used]:
        walk.warnings.append(f"{named(strays)}: no picture and its {ending} of one name; left out.")
    found = []
    for (picture, mask), told in zip(paired, side_by_side(lambda pair: _told(data, pair[1][0]), paired), strict=True):
        if isinstance(told, str):
            found.append((told, picture, mask))
        else:
            walk.warnings.append(f"{mask[0]}: {reason_of(told)} Its image is left out.")
    return found


def _told(data: Store, mask: str) -> str | Exception:
    """What a mask says its image is, or why it cannot be read."""
    try:
        return "defect" if read_mask(data.read_picture(mask)).any() else GOOD
    except UNREADABLE as error:
        return error
