"""Listing of a data root: its categories and images, and the new images below a folder.

`pipelines.data.layouts` detects the directory layout of a data root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow.fs as pafs

from pipelines.data.discovery import (
    Walk,
    composed,
    files_below,
    fingerprint_of,
    listing_warnings,
    named,
    pictures_in,
)
from pipelines.data.layouts.detect import AUTO, LIST, MVTEC, find_layout
from pipelines.data.mask_files import half_of, is_good_name, separate_masks
from pipelines.data.records import GOOD, NEW, TEST, ImageRecord
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side


@dataclass(frozen=True)
class Listing:
    """Categories and images of a data root.

    Attributes:
        categories: Names of the categories, sorted.
        images: Images, grouped by category and sorted by path within a category.
        warnings: Sentences for the user about files that are skipped or not used.
        layout: Directory layout, a key of `pipelines.data.layouts.LAYOUTS`.
    """

    categories: tuple[str, ...]
    images: tuple[ImageRecord, ...]
    warnings: tuple[str, ...] = ()
    layout: str = MVTEC


def find_categories(
    data: Store, asked: Sequence[str] = (), layout: str = AUTO, columns: str | None = None
) -> list[str]:
    """Return the categories of a data root, sorted.

    Args:
        data: Data root.
        asked: Names given with `--category`; empty for all categories.
        layout: Directory layout, a key of `LAYOUTS`; 'auto' detects it.
        columns: Value of --columns for an image list; None if it is not given.

    Returns:
        Category names as the dataset spells them.

    Raises:
        UsageError: The root is not a folder, contains no category or lacks a requested one, or a list of images has
            an invalid row.
    """
    return _chosen(data, list(find_layout(data, layout, columns)[1]), asked)


def list_images(data: Store, categories: Sequence[str] = (), layout: str = AUTO, columns: str | None = None) -> Listing:
    """List the images of a data root.

    Masks are read only in layouts where nothing else marks an image as defective.

    Args:
        data: Data root.
        categories: Names given with `--category`; empty for all categories.
        layout: Directory layout, a key of `LAYOUTS`; 'auto' detects it.
        columns: Value of --columns for an image list; None if it is not given.

    Returns:
        Categories, images and warnings. Width, height and hashes of the images are not set yet.

    Raises:
        UsageError: As for `find_categories`, or none of the images of a list exists.
    """
    name, walks_of = find_layout(data, layout, columns)
    chosen = _chosen(data, list(walks_of), categories)
    walks = side_by_side(lambda category: walks_of[category](), chosen)
    images = tuple(image for walk in walks for image in walk.images)
    warnings = [sentence for walk in walks for sentence in walk.warnings]
    if name == LIST and not images:
        raise UsageError(f"--data {data.below(data.listed).uri}: {warnings[0]}")
    if name != LIST:  # a folder with an unusable name belongs to no category, so no walk warns about it
        warnings = [*listing_warnings(data, data.contents(recursive=False)), *warnings]
    return Listing(tuple(chosen), images, tuple(dict.fromkeys(warnings)), name)


def _chosen(data: Store, categories: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the requested categories, sorted; names are also compared in Unicode's composed form."""
    categories = sorted(categories)
    by_composed = {composed(category): category for category in categories}
    chosen = {name: name if name in categories else by_composed.get(composed(name)) for name in asked}
    if missing := [name for name, category in chosen.items() if category is None]:
        raise UsageError(
            f"--category {', '.join(missing)}: not found in {data.uri}. Available: {', '.join(categories[:20])}."
        )
    return [category for category in categories if not asked or category in chosen.values()]


def find_new_images(images: Store, folder: str = "") -> tuple[list[pafs.FileInfo], list[str]]:
    """Return all image files below a folder that are to be scored, and warnings.

    Masks and files of other modalities are not among them, see `pipelines.data.mask_files`.

    The files are not converted to `ImageRecord` here, because a record takes five times the memory and one call may
    score a million images.

    Args:
        images: Root of the new images.
        folder: Folder below the root; empty for the root itself.

    Returns:
        Image files, sorted by path, and sentences for the user about files that are skipped.
    """
    walk = Walk()
    pictures = pictures_in(files_below(images, folder, walk), walk)
    separated = separate_masks(pictures, f"{folder}/" if folder else "")
    walk.warnings += separated.notes
    if separated.in_folders:
        walk.warnings.append(f"{named(separated.in_folders)}: not scored, because it is a mask of another image.")
    return [info for _, info in separated.images if info is not None], walk.warnings


def new_images(images: Store, category: str, files: Sequence[pafs.FileInfo]) -> list[ImageRecord]:
    """Return image files as images of split 'new'.

    Label and defect are known only for files in <category>/test/<defect>; good ones as in `mask_files`.

    Args:
        images: Root of the new images.
        category: Category whose model scores the images.
        files: Image files from `find_new_images`.

    Returns:
        One record per file, in the same order.
    """
    records = []
    for info in files:
        path = images.name_of(info)
        *folders, _ = path.split("/")
        is_test = len(folders) > 2 and folders[0] == category and half_of(folders[1]) == TEST
        defect = None if not is_test else GOOD if is_good_name(folders[2]) else folders[2]
        label = None if defect is None else int(defect != GOOD)
        records.append(ImageRecord(category, NEW, defect, path, label=label, fingerprint=fingerprint_of(info)))
    return records


def as_new(image: ImageRecord) -> ImageRecord:
    """Return a labeled test image as an image of split 'new', without its mask.

    Args:
        image: Test image from `list_images`.

    Returns:
        Copy with the same label and defect; its fingerprint covers the image only.
    """
    fingerprint = None if image.fingerprint is None else image.fingerprint.partition("|")[0]
    return replace(
        image, split=NEW, mask_path=None, more_masks=(), shapes=None, mask_sha256=None, fingerprint=fingerprint
    )
