"""Categories of the study: images in MVTec AD's layout, and the two halves of the test sets."""

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

_TRAIN_CELLS = 0.6  # share of the good solar cells that are training images


@dataclass(frozen=True)
class Category:
    """Images of a category.

    Attributes:
        name: Name of the category.
        root: Folder to which `image_path` and `mask_path` are relative.
        train: Good training images in the order of the hashes of their paths, so that the first n are a random sample.
        test: Labeled test images in the same order.
    """

    name: str
    root: Path
    train: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...]

    def half(self, which: str) -> tuple[ImageRecord, ...]:
        """Return the test images of a half.

        Args:
            which: 'A' or 'B'; 'AB' returns all test images.
        """
        return tuple(image for image in self.test if half_of(image) in which)

    def read(self, image: ImageRecord) -> bytes:
        """Return the bytes of an image file.

        Args:
            image: Image of the category.
        """
        return (self.root / image.image_path).read_bytes()

    def mask(self, image: ImageRecord) -> npt.NDArray[np.bool_] | None:
        """Return the mask of an image, (H, W) bool in the pixels of the mask file; None if the image has no mask.

        Args:
            image: Image of the category.
        """
        return None if image.mask_path is None else read_mask((self.root / image.mask_path).read_bytes())


def half_of(image: ImageRecord) -> str:
    """Return the half of the test set to which an image belongs, 'A' or 'B'.

    Args:
        image: Test image; only its path matters.
    """
    return "AB"[int(digest(image.image_path), 16) % 2]


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal digits.

    Args:
        text: Text to hash, encoded as UTF-8.
    """
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def categories(folders: tuple[Path, ...], cells: Path) -> tuple[Category, ...]:
    """Return all categories of some datasets, and those of elpv-dataset.

    Args:
        folders: Datasets in MVTec AD's layout.
        cells: Folder for links to the solar cells of elpv-dataset.

    Raises:
        UsageError: A folder contains no category, or two categories have the same name.
    """
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        train = round(_TRAIN_CELLS * len(good))
        link_cells(cells, kind, {"train/good": good[:train], "test/good": good[train:], "test/defect": defect})
    every = [category for folder in (*folders, cells) for category in categories_of_folder(folder)]
    names = [category.name for category in every]
    if len(set(names)) < len(names):
        raise UsageError(f"--data: two of these categories have the same name: {', '.join(names)}. Rename one of them.")
    return tuple(every)


def categories_of_folder(folder: Path) -> Sequence[Category]:
    """Return the categories of a dataset.

    Args:
        folder: Dataset in MVTec AD's layout.

    Raises:
        UsageError: The folder contains no category.
    """
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
