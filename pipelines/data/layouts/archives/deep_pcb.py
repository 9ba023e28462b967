"""Layout of DeepPCB: a good template and a defective image of each circuit, with boxes in a text file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.data.discovery import NO_TRUTH, File, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.annotations.outlines import shapes_text
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.storage.store import Store, side_by_side

_CATEGORY, _ROOT = "deep_pcb", "PCBData"
_TEMPLATE, _TESTED, _LABELS = "_temp", "_test", "_not"
_KINDS = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pin-hole"}


def deep_pcb(data: Store) -> Categories:
    """Find DeepPCB's layout: group<number>/<number>/<id>_temp.jpg and <id>_test.jpg, <number>_not/<id>.txt.

    One category. The data root is the archive, its folder PCBData, or a group. The templates are good training images;
    the tested boards are defective test images. A row of <id>.txt is a box and a type: x1 y1 x2 y2 type.

    Args:
        data: Data root.
    """
    folders = _circuits(data)
    return {_CATEGORY: lambda: _walk(data, folders)} if folders else {}


def _circuits(data: Store) -> list[str]:
    """Return the folders with images, each of which has a folder of labels beside it; none in another layout."""
    top = f"{_ROOT}/" if _ROOT in image_folders(data) else ""
    names = data.folders(top.rstrip("/"))
    groups = [f"{top}{name}/" for name in names if re.fullmatch(r"group\d+", name)] or ([""] if not top else [])
    inside = side_by_side(lambda group: data.folders(group.rstrip("/")), groups)
    return [
        f"{group}{name}"
        for group, circuits in zip(groups, inside, strict=True)
        for name in circuits
        if re.fullmatch(r"\d+", name) and f"{name}{_LABELS}" in circuits
    ]


def _walk(data: Store, folders: Sequence[str]) -> Walk:
    walk = Walk()
    images = [pictures_in(files, walk) for files in side_by_side(lambda name: files_below(data, name, walk), folders)]
    labels: dict[str, File] = {}
    for files in side_by_side(lambda name: files_below(data, f"{name}{_LABELS}", walk), folders):
        labels |= {PurePosixPath(name).stem: (name, info) for name, info in files if name.endswith(".txt")}
    tested, others = [], []
    for image in (file for files in images for file in files):
        stem = PurePosixPath(image[0]).stem
        if stem.endswith(_TEMPLATE):
            walk.add(_CATEGORY, image, split=TRAIN, defect=GOOD)
        elif stem.endswith(_TESTED):
            tested.append((image, labels.get(stem.removesuffix(_TESTED))))
        else:
            others.append(image[0])
    boxes = side_by_side(lambda pair: [] if pair[1] is None else _boxes(data, pair[1][0]), tested)
    unlabeled = [image[0] for image, label in tested if label is None]
    for (image, label), found in zip(tested, boxes, strict=True):
        if isinstance(found, str):
            walk.warnings.append(f"{image[0]}: excluded, because {found} in its file of labels.")
            continue
        kinds = sorted({_KINDS.get(kind, f"type {kind}") for *_, kind in found})
        shapes = shapes_text([{"box": box} for *box, _ in found])
        truth = NO_TRUTH if label is None or not found else Truth(masks=(label,), shapes=shapes)
        defect = None if label is None else "+".join(kinds) or GOOD
        walk.add(_CATEGORY, image, split=TEST, defect=defect, truth=truth)
    if unlabeled:
        walk.warnings.append(f"{named(unlabeled)}: the file of labels is missing, so the image has no label.")
    if others:
        walk.warnings.append(f"{named(others)}: not used, because the name ends neither in {_TEMPLATE} nor {_TESTED}.")
    return walk


def _boxes(data: Store, name: str) -> list[tuple[int, ...]] | str:
    """Return (x1, y1, x2, y2, type) of each row, separated by spaces or commas; or what is wrong with the file."""
    rows = []
    for number, line in enumerate(data.read(name).decode("utf-8-sig", errors="replace").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) != 5 or not all(word.isdecimal() for word in words):
            return f"row {number}, '{line[:50]}', is not a box (x1 y1 x2 y2 type)"
        rows.append(tuple(int(word) for word in words))
    return rows
