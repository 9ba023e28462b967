"""Layout of DAGM 2007: Class<k>/Train and Test with numbered images, labels in Label/Labels.txt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from pipelines.data.discovery import NO_TRUTH, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of
from pipelines.data.records import GOOD, TRAIN
from pipelines.errors import UsageError
from pipelines.storage.store import Store

_CLASS = re.compile(r"Class\d+", re.IGNORECASE)
_LABELS = "Label/Labels.txt"
_DEFECT = "defect"


def dagm(data: Store) -> Categories:
    """Find DAGM's layout: Class1/Train/0576.PNG, Class1/Train/Label/0576_label.PNG and Label/Labels.txt.

    Each class is a category. The data root may also be one class, and the folder of a class may lie in another one of
    its name, as in some archives. Defective images of `Train` are left out.

    Args:
        data: Data root.
    """
    root = PurePosixPath(data.root).name
    if _CLASS.fullmatch(root) and (halves := _halves(data, "")):
        return {root: partial(_walk, data, root, halves)}
    found = {}
    for name in image_folders(data):
        if _CLASS.fullmatch(name) and (halves := _halves(data, name) or _halves(data, f"{name}/{name}")):
            found[name] = partial(_walk, data, name, halves)
    return found


def _halves(data: Store, folder: str) -> list[str]:
    """Return the folders of a class that have a table of labels; none without a folder of training images."""
    prefix = f"{folder}/" if folder else ""
    halves = [f"{prefix}{name}" for name in data.folders(folder) if half_of(name) is not None]
    halves = [half for half in halves if data.exists(f"{half}/{_LABELS}")]
    return halves if any(half_of(PurePosixPath(half).name) == TRAIN for half in halves) else []


def _walk(data: Store, category: str, halves: Sequence[str]) -> Walk:
    walk = Walk()
    left_out, unlisted, missing = [], [], []
    for half in sorted(halves, key=lambda half: half_of(PurePosixPath(half).name) != TRAIN):
        split = str(half_of(PurePosixPath(half).name))
        files = dict(pictures_in(files_below(data, half, walk), walk))
        labels = _labels(data, half)
        missing += [name for name in _listed(half, labels) if name not in files]
        for name, info in files.items():
            if name.removeprefix(f"{half}/").count("/"):
                continue  # masks, in the folder of the labels
            image = PurePosixPath(name).name
            if image not in labels:
                unlisted.append(name)
                continue
            mask = labels[image]
            if mask is not None and split == TRAIN:
                left_out.append(name)
                continue
            place = f"{half}/Label/{mask}"
            truth = Truth(masks=((place, files[place]),)) if mask and place in files else NO_TRUTH
            walk.add(category, (name, info), split=split, defect=GOOD if mask is None else _DEFECT, truth=truth)
    if left_out:
        walk.warnings.append(f"{named(left_out)}: excluded from training, because {_LABELS} says that it is defective.")
    if unlisted:
        walk.warnings.append(f"{named(unlisted)}: excluded, because {_LABELS} does not list the image.")
    if missing:
        walk.warnings.append(f"{named(missing)}: not used, because the file does not exist; {_LABELS} lists it.")
    return walk


def _listed(half: str, labels: Mapping[str, str | None]) -> list[str]:
    """Return the names of all images and masks that the table of a half lists."""
    return [*(f"{half}/{image}" for image in labels), *(f"{half}/Label/{mask}" for mask in labels.values() if mask)]


def _labels(data: Store, half: str) -> dict[str, str | None]:
    """Return the name of an image -> the name of its mask, or None if it is good."""
    place = f"{half}/{_LABELS}"
    labels: dict[str, str | None] = {}
    lines = data.read(place).decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) <= 1:  # the first row is a number of its own
            continue
        if len(words) < 5 or words[1] not in ("0", "1"):
            raise UsageError(
                f"{data.below(place).uri}, row {number}: '{line}' is not valid. Expected: number, 0 or 1, image, "
                "a further column, mask."
            )
        labels[words[2]] = words[4] if words[1] == "1" else None
    return labels
