"""Trees of files with nothing in them, lists of images, and what a listing says of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.data.dataset import Listing, list_images
from pipelines.storage.store import Store


def touch(root: Path, *names: str | bytes) -> None:
    """Make files, with their folders; a name in bytes need not be UTF-8."""
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def look(data: Path, *categories: str, layout: str = "auto") -> Listing:
    return list_images(Store.of_data(str(data)), categories, layout)


def paths(listing: Listing) -> list[str]:
    return [image.image_path for image in listing.images]


def told(listing: Listing) -> dict[str, tuple[Any, ...]]:
    """image_path → category, split, defect, label, mask_path."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # the mark that Excel writes
        csv.writer(file).writerows([columns, *rows])
    return path


def make_list(root: Path) -> None:
    touch(root, *(f"a/{n}.png" for n in (1, 2, 3)), *(f"{n}.png" for n in (4, 5, 6, 7)), "m/2.png", "m/3.png")
    write_csv(root / "list.csv", ROWS)
