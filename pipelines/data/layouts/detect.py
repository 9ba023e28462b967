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

from collections.abc import Callable, Mapping
from functools import partial

import pyarrow.fs as pafs

from pipelines.data.image_list import read_list, walk_list
from pipelines.data.layouts.annotations.coco import coco
from pipelines.data.layouts.annotations.datumaro import datumaro
from pipelines.data.layouts.annotations.labelme import labelme
from pipelines.data.layouts.annotations.voc import voc
from pipelines.data.layouts.annotations.yolo import yolo
from pipelines.data.layouts.archives.aitex import aitex
from pipelines.data.layouts.archives.dagm import dagm
from pipelines.data.layouts.archives.deep_pcb import deep_pcb
from pipelines.data.layouts.archives.eyecandies import eyecandies
from pipelines.data.layouts.archives.kolektor import kolektorsdd, kolektorsdd2
from pipelines.data.layouts.archives.magnetic_tile import magnetic_tile
from pipelines.data.layouts.categories import Categories
from pipelines.data.layouts.plain_folders import folders
from pipelines.data.layouts.real_iad import real_iad
from pipelines.data.layouts.refusals import half_refusal, refusal
from pipelines.data.layouts.severstal import severstal
from pipelines.data.layouts.splits import btad, mvtec
from pipelines.data.layouts.visa import visa
from pipelines.data.list_columns import parse_columns
from pipelines.errors import UsageError
from pipelines.storage.store import Store

AUTO, MVTEC, LIST = "auto", "mvtec", "list"


def listed(data: Store, columns: str | None = None) -> Categories:
    """Read a list of images, CSV or Parquet, that is given as `--data`; see `pipelines.data.image_list`.

    Args:
        data: Data root; `data.listed` is the name of the list.
        columns: Value of --columns; None if it is not given.
    """
    if not data.listed:
        return {}
    images = read_list(data, data.listed, parse_columns(columns))
    return {category: partial(walk_list, data, images, category) for category in images.categories}


# 'auto' tries the layouts in this order and takes the first one that finds a category.
LAYOUTS: Mapping[str, Callable[[Store], Categories]] = {
    "real_iad": real_iad,
    MVTEC: mvtec,
    "btad": btad,
    "visa": visa,
    "severstal": severstal,
    "kolektorsdd": kolektorsdd,
    "kolektorsdd2": kolektorsdd2,
    "dagm": dagm,
    "aitex": aitex,
    "eyecandies": eyecandies,
    "magnetic_tile": magnetic_tile,
    "deep_pcb": deep_pcb,
    "folders": folders,
    "coco": coco,
    "yolo": yolo,
    "voc": voc,
    "datumaro": datumaro,
    "labelme": labelme,
    LIST: listed,
}


def find_layout(data: Store, layout: str = AUTO, columns: str | None = None) -> tuple[str, Categories]:
    """Return the name of the layout of a data root, and its categories.

    Args:
        data: Data root.
        layout: Key of `LAYOUTS`; 'auto' selects the first layout that finds a category.
        columns: Value of --columns for an image list; None if it is not given.

    Returns:
        Key of `LAYOUTS`, and category -> the function that lists it.

    Raises:
        UsageError: No category is found, or `layout` does not fit `--data`.
    """
    if data.listed and layout not in (AUTO, LIST):
        raise UsageError(f"--layout {layout} does not apply to a list of images ({data.listed}). Omit --layout.")
    if columns and not data.listed:
        raise UsageError(f"--columns applies to a list of images, and --data {data.uri} is a folder. Omit --columns.")
    if layout == AUTO and not data.listed and (sentence := half_refusal(data, _is_claimed)):
        raise UsageError(sentence)
    tried = [layout] if layout != AUTO else [LIST] if data.listed else list(LAYOUTS)
    for name in tried:
        if categories := listed(data, columns) if name == LIST else LAYOUTS[name](data):
            return name, categories
    raise UsageError(_refusal(data, layout))


def _refusal(data: Store, layout: str) -> str:
    """Return why no category is found in a data root, and what to give instead."""
    if data.listed:
        return f"--data {data.below(data.listed).uri}: the list contains no image."
    kind = data.filesystem.get_file_info(data.path()).type
    if kind == pafs.FileType.File:
        return f"--data {data.uri} is a file, but no .csv or .parquet file. Give a folder or such a list."
    if kind != pafs.FileType.Directory:
        return f"--data {data.uri}: the folder does not exist."
    if layout == LIST:
        return f"--layout list: --data {data.uri} is a folder. Give a .csv or .parquet file."
    if layout != AUTO:
        return f"--data {data.uri}: no category found in layout '{layout}'. Omit --layout to detect it."
    return refusal(data, _is_claimed)


def _is_claimed(data: Store) -> bool:
    """Return whether a layout finds categories in a data root."""
    return any(find(data) for find in LAYOUTS.values())
