"""Listing of a data root: its categories and images, and the new images below a folder.

The directory layout of a data root is found by `pipelines.data.layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow.fs as pafs

from pipelines.data.discovery import Walk, composed, files_below, fingerprint_of, listing_warnings, pictures_in
from pipelines.data.layouts import AUTO, LIST, MVTEC, find_layout
from pipelines.data.records import GOOD, ImageRecord
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side


@dataclass(frozen=True)
class Listing:
    """What a data root holds.

    Attributes:
        categories: sorted.
        images: category by category, sorted by path.
        warnings: sentences for the user.
        layout: the directory layout, a key of `pipelines.data.layouts.LAYOUTS`.
    """

    categories: tuple[str, ...]
    images: tuple[ImageRecord, ...]
    warnings: tuple[str, ...] = ()
    layout: str = MVTEC


def find_categories(data: Store, asked: Sequence[str] = (), layout: str = AUTO) -> list[str]:
    """Return the categories of a data root, sorted.

    Args:
        data: the data root.
        asked: of `--category`; empty for all categories.
        layout: the directory layout; 'auto' detects it.

    Raises:
        UsageError: the root is no folder, holds no category or lacks one that was asked for, or a list of images has
            invalid rows.
    """
    return _chosen(data, list(find_layout(data, layout)[1]), asked)


def list_images(data: Store, categories: Sequence[str] = (), layout: str = AUTO) -> Listing:
    """List the images of a data root. Masks are opened in layouts where they alone show which images are defective.

    Args:
        data: the data root.
        categories: of `--category`; empty for all categories.
        layout: the directory layout; 'auto' detects it.

    Raises:
        UsageError: as `find_categories`, or none of the images of a list exists.
    """
    name, walks_of = find_layout(data, layout)
    chosen = _chosen(data, list(walks_of), categories)
    walks = side_by_side(lambda category: walks_of[category](), chosen)
    images = tuple(image for walk in walks for image in walk.images)
    warnings = [sentence for walk in walks for sentence in walk.warnings]
    if name == LIST and not images:
        raise UsageError(f"--data {data.below(data.listed).uri}: {warnings[0]}")
    if name != LIST:  # folders with such names belong to no category
        warnings = [*listing_warnings(data, data.contents(recursive=False)), *warnings]
    return Listing(tuple(chosen), images, tuple(dict.fromkeys(warnings)), name)


def _chosen(data: Store, categories: Sequence[str], asked: Sequence[str]) -> list[str]:
    categories = sorted(categories)
    by_composed = {composed(category): category for category in categories}
    chosen = {name: name if name in categories else by_composed.get(composed(name)) for name in asked}
    if missing := [name for name, category in chosen.items() if category is None]:
        raise UsageError(f"--category {', '.join(missing)}: not in {data.uri}, which has {', '.join(categories[:20])}.")
    return [category for category in categories if not asked or category in chosen.values()]


def find_new_images(images: Store, folder: str = "") -> tuple[list[pafs.FileInfo], list[str]]:
    """Return all image files below a folder, and warnings.

    The files are no `ImageRecord`s yet, which take five times the memory: one call may score a million images.

    Args:
        images: the root.
        folder: below it; empty for the root itself.
    """
    walk = Walk()
    files = [info for _, info in pictures_in(files_below(images, folder, walk), walk)]
    return files, walk.warnings


def new_images(images: Store, category: str, files: Sequence[pafs.FileInfo]) -> list[ImageRecord]:
    """Return image files as images of split 'new'. Their defect is known only in <category>/test/<defect>.

    Args:
        images: the root of the files.
        category: whose model scores them.
        files: of `find_new_images`.
    """
    records = []
    for info in files:
        path = images.name_of(info)
        parts = path.removeprefix(f"{category}/test/").split("/") if path.startswith(f"{category}/test/") else []
        defect = parts[0] if len(parts) > 1 else None
        label = None if defect is None else int(defect != GOOD)
        records.append(ImageRecord(category, "new", defect, path, label=label, fingerprint=fingerprint_of(info)))
    return records


def as_new(image: ImageRecord) -> ImageRecord:
    """Return a labeled test image as one of split 'new', without its mask."""
    fingerprint = None if image.fingerprint is None else image.fingerprint.partition("|")[0]
    return replace(image, split="new", mask_path=None, mask_sha256=None, fingerprint=fingerprint)
