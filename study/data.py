"""The categories of the study: their images in MVTec AD's layout, and the two halves of their test sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.data.dataset import list_images
from pipelines.data.demo import CELL_KINDS, cell_names, link_cells
from pipelines.data.records import ImageRecord
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from reconpatch.imaging.images import read_mask

_TRAIN_CELLS = 0.6  # of the good solar cells


@dataclass(frozen=True)
class Category:
    """A category's images.

    Attributes:
        name: of the category.
        root: folder that `image_path` and `mask_path` are relative to.
        train: good training images, in order of their paths' hashes, so that a prefix is a fair sample.
        test: labeled test images, in the same order.
    """

    name: str
    root: Path
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]

    def half(self, which: str) -> tuple[ImageRecord, ...]:
        """Return the test images of half 'A' or 'B'; all of them for 'AB'."""
        return tuple(image for image in self.test if half_of(image) in which)

    def read(self, image: ImageRecord) -> bytes:
        """Return the contents of an image's file."""
        return (self.root / image.image_path).read_bytes()

    def mask(self, image: ImageRecord) -> npt.NDArray[np.bool_] | None:
        """Return an image's mask, (H, W) in pixels of the image; None without a mask."""
        return None if image.mask_path is None else read_mask((self.root / image.mask_path).read_bytes())


def half_of(image: ImageRecord) -> str:
    """Return 'A' or 'B', which depends only on the path."""
    return "AB"[int(digest(image.image_path), 16) % 2]


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def categories(folders: tuple[Path, ...], cells: Path) -> tuple[Category, ...]:
    """Return all categories of the folders, and those of elpv-dataset.

    Args:
        folders: datasets in MVTec AD's layout.
        cells: folder that the solar cells of elpv-dataset are linked into.

    Raises:
        UsageError: a folder holds no category, or two categories have the same name.
    """
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        train = round(_TRAIN_CELLS * len(good))
        link_cells(cells, kind, {"train/good": good[:train], "test/good": good[train:], "test/defect": defect})
    every = [category for folder in (*folders, cells) for category in categories_of_folder(folder)]
    names = [category.name for category in every]
    if len(set(names)) < len(names):
        raise UsageError(f"--data: two categories have the same name, among {', '.join(names)}.")
    return tuple(every)


def categories_of_folder(folder: Path) -> Sequence[Category]:
    """Return the categories of a dataset in MVTec AD's layout."""
    store = Store.of(str(folder))
    listing = list_images(store)
    images = sorted(listing.images, key=lambda image: digest(image.image_path))
    return [
        Category(
            name,
            folder,
            tuple(image for image in images if image.category == name and image.split == "train"),
            tuple(image for image in images if image.category == name and image.split == "test"),
        )
        for name in listing.categories
    ]
