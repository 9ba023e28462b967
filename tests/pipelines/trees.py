"""Helpers for the tests of layouts: folders with placeholder files, image lists, and the images that are found."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.data.dataset import Listing, list_images
from pipelines.storage.store import Store


def touch(root: Path, *names: str | bytes) -> None:
    """Write placeholder files and their folders; a name can be bytes that are not UTF-8."""
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def look(data: Path, *categories: str, layout: str = "auto") -> Listing:
    """Return the images that are found in a data root."""
    return list_images(Store.of_data(str(data)), categories, layout)


def paths(listing: Listing) -> list[str]:
    """Return the paths of the listed images."""
    return [image.image_path for image in listing.images]


def fields_by_path(listing: Listing) -> dict[str, tuple[Any, ...]]:
    """Return image_path → (category, split, defect, label, mask_path)."""
    return {i.image_path: (i.category, i.split, i.defect, i.label, i.mask_path) for i in listing.images}


COLUMNS = ("path", "category", "split", "label", "mask")
ROWS = [
    ("a/1.png", "line 1/nut", "train", "0", ""),
    ("a/2.png", "line 1/nut", "test", "good", "m/2.png"),
    ("./a//3.png", "line 1/nut", "Test", "bent", "m/3.png"),
    ("4.png", "004711", "train", "", ""),
    ("5.png", "004711", "test", "", ""),
    ("6.png", "004711", "test", "1.0", "m/6.png"),
    ("7.png", "004711", "train", "scratch", ""),
]


def write_csv(path: Path, rows: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS) -> Path:
    """Write a CSV file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # Excel writes a byte order mark.
        csv.writer(file).writerows([columns, *rows])
    return path


def make_list(root: Path) -> None:
    """Write the image list `ROWS` and placeholder files for its images and masks."""
    touch(root, *(f"a/{n}.png" for n in (1, 2, 3)), *(f"{n}.png" for n in (4, 5, 6, 7)), "m/2.png", "m/3.png")
    write_csv(root / "list.csv", ROWS)
