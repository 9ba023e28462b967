"""The categories of the study: their images in MVTec AD's layout, and the two halves of their test sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.dataset import list_images
from pipelines.demo import CELL_KINDS, cell_names, link_cells
from pipelines.storage import Store
from pipelines.usage import UsageError
from pipelines.walk import Image
from reconpatch.images import read_mask

_TRAIN_CELLS = 0.6  # of the good solar cells


@dataclass(frozen=True)
class Category:
    """A category's images.

    Attributes:
        root: what `image_path` and `mask_path` are relative to.
        train: good images to learn from, in order of their paths' hashes: a prefix is a fair sample.
        test: labelled images, likewise.
    """

    name: str
    root: Path
    train: tuple[Image, ...]
    test: tuple[Image, ...]

    def half(self, which: str) -> tuple[Image, ...]:
        """The test images of half 'A' or 'B'; all of them for 'AB'."""
        return tuple(image for image in self.test if half_of(image) in which)

    def read(self, image: Image) -> bytes:
        return (self.root / image.image_path).read_bytes()

    def mask(self, image: Image) -> npt.NDArray[np.bool_] | None:
        """(H, W) on the picture's own grid; None where a defect has no mask."""
        return None if image.mask_path is None else read_mask((self.root / image.mask_path).read_bytes())


def half_of(image: Image) -> str:
    """'A' or 'B', by the path alone."""
    return "AB"[int(digest(image.image_path), 16) % 2]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def categories(folders: tuple[Path, ...], cells: Path) -> tuple[Category, ...]:
    """All categories of the folders, and the solar cells of elpv-dataset, laid out below `cells`.

    Raises:
        UsageError: a folder holds no category, or two have one name.
    """
    for kind in CELL_KINDS:
        good, defect = cell_names(kind)
        train = round(_TRAIN_CELLS * len(good))
        link_cells(cells, kind, good[:train], good[train:], defect)
    found = [category for folder in (*folders, cells) for category in _of_folder(folder)]
    names = [category.name for category in found]
    if len(set(names)) < len(names):
        raise UsageError(f"--data: two categories have one name, among {', '.join(names)}.")
    return tuple(found)


def _of_folder(folder: Path) -> Sequence[Category]:
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
