"""Layouts of Real-IAD and Real-IAD D3, whose images are listed in one JSON file per category."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from pipelines.data.discovery import File, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of, is_good_name
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side

# Folders with the JSON files, and folders of images, in the order in which they are chosen.
_LISTS = ("realiad_jsons/realiad_jsons", "realiad_jsons", "realiad_d3_jsons/realiad_d3_jsons", "realiad_d3_jsons")
_IMAGES = ("realiad_1024", "realiad_raw", "realiad_512", "realiad_256", "realiad_d3_raw", "realiad_d3", "")
_PART = re.compile(r"(?:^|/)S(\d+)(?=/)")
_VIEW = re.compile(r"_(C\d+)_[^/]*$")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where the images of a category and their list are.

    Attributes:
        category: Name of the category.
        table: Name of the JSON file.
        folder: Folder of the images; the paths in the JSON file are relative to it.
        notes: Sentences about folders that are not used.
    """

    category: str
    table: str
    folder: str
    notes: tuple[str, ...]

    @property
    def has_views(self) -> bool:
        """Whether the list is Real-IAD's, in which a view of a defective part without a mask is good."""
        return "d3" not in self.table.partition("/")[0]


def real_iad(data: Store) -> Categories:
    """Find Real-IAD's layout: realiad_<size>/<category>/... and realiad_jsons/realiad_jsons/<category>.json.

    Part and view are the numbers after S and C in the paths. Real-IAD D3 is read likewise, from `realiad_d3_jsons` and
    `realiad_d3_raw`; only its rgb images are used. Without JSON files, folders OK and NG are read as they are, but then
    there is no split: good images are training images, and defective ones are test images.

    Args:
        data: Data root.

    Raises:
        UsageError: The root is a folder of images whose JSON files are in a folder above.
    """
    if sources := _sources(data):
        return {source.category: partial(_walk_list, data, source) for source in sources}
    names = image_folders(data)
    if {"OK", "NG"} <= set(names) and _has_parts(data, "OK"):
        _refuse_below_the_lists(data)
        category = PurePosixPath(data.root).name
        return {category: partial(_walk_folders, data, category, "")}
    parted = [
        name for name, is_it in zip(names, side_by_side(partial(_is_category, data), names), strict=True) if is_it
    ]
    if parted:
        _refuse_below_the_lists(data)
    return {name: partial(_walk_folders, data, name, f"{name}/") for name in parted}


def _is_category(data: Store, name: str) -> bool:
    return {"OK", "NG"} <= set(data.folders(name)) and _has_parts(data, f"{name}/OK")


def _has_parts(data: Store, folder: str) -> bool:
    return any(re.fullmatch(r"S\d+", name) for name in data.folders(folder))


def _refuse_below_the_lists(data: Store) -> None:
    """Raise UsageError if a folder above the data root, at most two levels up, has the lists of the images."""
    above = data
    for _ in range(2):
        root = above.root.rpartition("/")[0]
        if not root:
            return
        above = replace(above, root=root, uri=above.uri.partition("?")[0].rstrip("/").rpartition("/")[0])
        try:
            has_lists = bool(_sources(above))
        except OSError:  # the user of a folder may not be allowed to list those above it
            return
        if has_lists:
            raise UsageError(
                f"--data {data.uri} contains images of Real-IAD without their lists, which are in the folder above. "
                f"Give --data {above.uri}."
            )


def _sources(data: Store) -> list[_Source]:
    """Return the categories that have both a JSON file and a folder of images."""
    folders = image_folders(data)
    tables: dict[str, str] = {}
    used = ""
    for folder in _LISTS:
        if not tables and folder.partition("/")[0] in folders:
            names = [info.base_name for info in data.files(folder, recursive=False)]
            tables = {name.removesuffix(".json"): f"{folder}/{name}" for name in names if name.endswith(".json")}
            used = folder
    if not tables:
        return []
    notes = []
    if unused := [name for name in data.folders(used.partition("/")[0]) if name != PurePosixPath(used).name]:
        notes.append(f"The lists in {used} are used, not those in {named(unused)}.")
    holders = [name for name in _IMAGES if name in folders or not name]
    categories = dict(zip(holders, side_by_side(data.folders, holders), strict=True))
    chosen = next((name for name in holders if tables.keys() & set(categories[name])), None)
    if chosen is None:
        return []
    if unused := [name for name in holders if name != chosen and tables.keys() & set(categories[name])]:
        notes.append(f"The images in {chosen} are used, not those in {named(unused)}.")
    prefix = f"{chosen}/" if chosen else ""
    return [
        _Source(category=name, table=table, folder=f"{prefix}{name}/", notes=tuple(notes))
        for name, table in tables.items()
        if name in categories[chosen]
    ]


@dataclass
class _ListWalk:
    """The images of a category that its JSON file lists.

    Attributes:
        source: Where the images and their list are.
        files: Name below the data root -> file information, of all files of the category.
        parts: Path in the list -> part.
        walk: Receives the images.
        passed: Reason -> names of files that are not used as listed.
        known: Names of the listed images and of the files that belong to them.
    """

    source: _Source
    files: Mapping[str, pafs.FileInfo | None]
    parts: Mapping[str, str]
    walk: Walk
    passed: dict[str, list[str]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    def add(self, split: str, entry: Mapping[str, Any]) -> None:
        """Add an entry of the JSON file, or note why it is left out."""
        folder = self.source.folder
        path, mask = f"{folder}{entry['image_path']}", entry.get("mask_path")
        self.known |= {f"{folder}{value}" for key, value in entry.items() if key.endswith("_path") and value}
        name = str(entry.get("anomaly_class"))
        is_good = is_good_name(name) or (self.source.has_views and not mask)
        if path not in self.files:
            self._pass(path, f"excluded, because the file does not exist; {self.source.table} lists it.")
        elif split == TRAIN and not is_good:
            self._pass(path, "excluded from training, because it is defective.")
        else:
            truth = Truth(
                masks=self._masks(f"{folder}{mask}") if mask and not is_good else (),
                part_id=self.parts.get(entry["image_path"]),
                view=_view(path),
            )
            image, defect = (path, self.files[path]), GOOD if is_good else name
            # A defective image of the validation half is a test image.
            self.walk.add(self.source.category, image, split=split if is_good else TEST, defect=defect, truth=truth)

    def _masks(self, name: str) -> tuple[File, ...]:
        if name in self.files:
            return ((name, self.files[name]),)
        self._pass(name, "the mask does not exist. The image is used without it.")
        return ()

    def _pass(self, name: str, reason: str) -> None:
        self.passed.setdefault(reason, []).append(name)


def _walk_list(data: Store, source: _Source) -> Walk:
    """Return the images of a category that its JSON file lists."""
    walk = Walk(warnings=list(source.notes))
    files = dict(files_below(data, source.folder.rstrip("/"), walk))
    halves = _read_halves(data, source.table)
    parts = _parts([str(entry["image_path"]) for entries in halves.values() for entry in entries])
    listing = _ListWalk(source, files, parts, walk)
    for split, entries in halves.items():
        for entry in entries:
            listing.add(split, entry)
    passed = dict(listing.passed)
    if others := [name for name, _ in pictures_in(files.items(), walk) if name not in listing.known]:
        passed[f"excluded, because {source.table} does not list it."] = others
    walk.warnings += [f"{named(names)}: {reason}" for reason, names in passed.items()]
    return walk


def _read_halves(data: Store, table: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return split -> entries of a JSON file; raise UsageError if it does not have this form."""
    try:
        content = json.loads(data.read(table))
        halves = {half: entries for name, entries in content.items() if (half := half_of(name)) is not None}
        if not halves or not all(isinstance(entry["image_path"], str) for part in halves.values() for entry in part):
            raise ValueError("it has no lists train and test with image_path")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{data.below(table).uri} is not a list of images in the form of Real-IAD ({error}). Restore it."
        ) from error
    return halves


def _walk_folders(data: Store, category: str, prefix: str) -> Walk:
    """Return the images of a category without lists: OK/<part>/..., NG/<defect>/<part>/..., masks beside them."""
    walk = Walk()
    files = dict(files_below(data, prefix.rstrip("/"), walk))
    masks = {name for name in files if name.endswith(".png") and f"{name.removesuffix('.png')}.jpg" in files}
    images = [(name, info) for name, info in pictures_in(files.items(), walk) if name not in masks]
    parts = _parts([name.removeprefix(prefix) for name, _ in images])
    others = []
    for name, info in images:
        folder, _, rest = name.removeprefix(prefix).partition("/")
        mask = f"{name.rpartition('.')[0]}.png"
        if folder not in ("OK", "NG") or not rest:
            others.append(name)
            continue
        is_good = folder == "OK" or mask not in masks
        truth = Truth(
            masks=() if is_good else ((mask, files[mask]),),
            part_id=parts.get(name.removeprefix(prefix)),
            view=_view(name),
        )
        split = TRAIN if is_good else TEST
        walk.add(category, (name, info), split=split, defect=GOOD if is_good else rest.partition("/")[0], truth=truth)
    if others:
        walk.warnings.append(f"{named(others)}: excluded, because it is neither in OK nor in NG.")
    walk.warnings.append(
        f"No realiad_jsons in {data.uri}: all good images are training images, including the views of defective parts "
        "that have no mask."
    )
    return walk


def _parts(paths: Sequence[str]) -> dict[str, str]:
    """Return image path -> part, S and its number; the whole folder where folders of several parts share a number."""
    found = {path: match for path in paths if (match := _PART.search(path))}
    folders: dict[str, set[str]] = {}
    for path, match in found.items():
        folders.setdefault(match[1], set()).add(path[: match.end()])
    return {
        path: f"S{match[1]}" if len(folders[match[1]]) == 1 else path[: match.end()] for path, match in found.items()
    }


def _view(path: str) -> str | None:
    """Return the camera of an image, C and its number; None if the name has none."""
    match = _VIEW.search(path)
    return match[1] if match else None
