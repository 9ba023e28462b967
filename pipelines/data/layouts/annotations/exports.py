"""Exports of annotation tools: their images, splits and categories, whatever the format of the annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from pipelines.data.discovery import NO_TRUTH, File, Truth, Walk, files_below, image_folders, named, pictures_in
from pipelines.data.layouts.annotations.outlines import Shape, shapes_text
from pipelines.data.layouts.categories import Categories
from pipelines.data.mask_files import half_of, is_good_name
from pipelines.data.records import GOOD, TEST, TRAIN, VALIDATION
from pipelines.errors import UsageError
from pipelines.storage.store import Store, side_by_side


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image of an export.

    Attributes:
        image: The image file.
        subset: Name of its subset ('train', 'default'); empty without subsets.
        defects: Names of its defects; empty if the image is good.
        truth: Masks or shapes of the defects.
    """

    image: File
    subset: str
    defects: Sequence[str] = ()
    truth: Truth = NO_TRUTH


@dataclass
class Export:
    """The images of an export, and what is passed over.

    Attributes:
        images: Images with and without annotations.
        passed: Reason -> names of files that are passed over for it; a reason completes the sentence '<names>: ...'.
        warnings: Further sentences for the user.
        missing: Names of images that an annotation file lists, but that do not exist.
    """

    images: list[Annotated] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, image: File, subset: str, outlined: Iterable[tuple[str, Shape | None]], source: File) -> None:
        """Add an image with the outlines of its defects.

        Args:
            image: The image file.
            subset: Name of its subset; empty without subsets.
            outlined: Name and shape of each annotation; the shape is None if it has no area. An annotation that is
                named good, ok or normal marks no defect.
            source: The annotation file.
        """
        marked = [(name, shape) for name, shape in outlined if not is_good_name(name)]
        shapes = shapes_text(shape for _, shape in marked if shape is not None)
        if any(shape is None for _, shape in marked):
            self.passed_over(image[0], "annotations without an area (points, lines, image labels) are not drawn.")
        truth = NO_TRUTH if shapes is None else Truth(masks=(source,), shapes=shapes)
        self.images.append(
            Annotated(image=image, subset=subset, defects=sorted({name for name, _ in marked}), truth=truth)
        )

    def passed_over(self, name: str, reason: str) -> None:
        """Note a file that is passed over.

        Args:
            name: Name of the file.
            reason: Key of `passed`.
        """
        self.passed.setdefault(reason, []).append(name)

    def not_found(self, name: str, reason: str) -> None:
        """Note an image that is listed, but does not exist.

        Args:
            name: Name of the image, as it is listed.
            reason: Key of `passed`.
        """
        self.missing.append(name)
        self.passed_over(name, reason)


@dataclass(frozen=True)
class Files:
    """Files below the folder of an export.

    Attributes:
        prefix: Folder of the export below the data root, with '/'; empty for the root itself.
        by_name: Name below the folder of the export -> file, whose name is below the data root; sorted.
        export: Receives the warnings about files that are skipped.
    """

    prefix: str
    by_name: Mapping[str, File]
    export: Export

    @classmethod
    def below(cls, data: Store, prefix: str, export: Export) -> Files:
        """List the files of an export.

        Args:
            data: Data root.
            prefix: Folder of the export, with '/'; empty for the root itself.
            export: Receives the warnings.
        """
        walk = Walk()
        files = files_below(data, prefix.rstrip("/"), walk)
        export.warnings += walk.warnings
        return cls(prefix, {name.removeprefix(prefix): (name, info) for name, info in files}, export)

    def images(self, within: str = "") -> dict[str, File]:
        """Return the image files.

        Args:
            within: Beginning of their names below the folder of the export.

        Returns:
            Name below the folder of the export -> file.
        """
        walk = Walk()
        inside = [file for name, file in self.by_name.items() if name.startswith(within)]
        images = {name.removeprefix(self.prefix): (name, info) for name, info in pictures_in(inside, walk)}
        self.export.warnings += walk.warnings
        return images

    def find(self, listed: str, folders: Sequence[str]) -> str | None:
        """Return the name of a listed file: as it is listed, with '/' for '\\', or else in any case if that is clear.

        Args:
            listed: Path of the file in an annotation file.
            folders: Folders below that of the export that the path may be relative to; the first ones are preferred.

        Returns:
            Key of `by_name`; None if there is no such file.
        """
        paths = [str(PurePosixPath(folder, path)) for path in (listed, _slashes(listed)) for folder in folders]
        exact = [path for path in paths if path in self.by_name]
        loose = [found[0] for path in paths if len(found := self._by_path.get(path.casefold(), ())) == 1]
        return next(iter(exact + loose), None)

    def find_base(self, listed: str, taken: Collection[str]) -> str | None:
        """Return the name of a file with the base name of a path of another machine; None if it is not clear.

        Args:
            listed: Path of the file in an annotation file.
            taken: Names of files that other paths stand for.

        Returns:
            Key of `by_name`; None if no file, or more than one, has the base name.
        """
        base = _slashes(listed).rpartition("/")[2]
        found = [name for name in self._by_base.get(base.casefold(), ()) if name not in taken]
        exact = [name for name in found if PurePosixPath(name).name == base]
        return next((names[0] for names in (exact, found) if len(names) == 1), None)

    @cached_property
    def _by_path(self) -> Mapping[str, Sequence[str]]:
        return _grouped(self.by_name, str)

    @cached_property
    def _by_base(self) -> Mapping[str, Sequence[str]]:
        return _grouped(self.by_name, lambda name: PurePosixPath(name).name)


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """Return names by a part of them, in lower case."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name).casefold(), []).append(name)
    return groups


def _slashes(path: str) -> str:
    return path.replace("\\", "/")


# Reads the export in a folder of the data root, given with '/', or empty for the root; None if there is none.
Reader = Callable[[Store, str], Export | None]


def exports(data: Store, kind: str, read: Reader) -> Categories:
    """Find the exports of a data root: the root itself, which is then the only category, or the folders in it.

    Args:
        data: Data root.
        kind: Name of the format in messages.
        read: Function that reads an export.

    Returns:
        Category -> the function that lists it; empty if there is no export.

    Raises:
        UsageError: No export has a good training image, or an annotation file is not valid.
    """
    found = {PurePosixPath(data.root).name: read(data, "")}
    if not any(found.values()):
        names = image_folders(data)
        found = dict(zip(names, side_by_side(lambda name: read(data, f"{name}/"), names), strict=True))
    of_category = {category: export for category, export in found.items() if export is not None}
    others = [category for category, export in found.items() if export is None]
    for export in list(of_category.values())[:1]:
        export.warnings += [f"{named(others)}: not used, because it has no {kind} annotations."] if others else []
    walks = {category: _walk(category, export) for category, export in of_category.items()}
    if walks and not any(image.split == TRAIN for walk in walks.values() for image in walk.images):
        raise UsageError(f"--data {data.uri}: {_nothing_good(kind, list(of_category.values()))}")
    return {category: lambda walk=walk: walk for category, walk in walks.items()}  # type: ignore[misc]


def _nothing_good(kind: str, exports_found: Sequence[Export]) -> str:
    """Return why exports contain no good training image."""
    count = sum(len(export.images) for export in exports_found)
    missing = [name for export in exports_found for name in export.missing]
    absent = f"{len(missing)} of the images that the {kind} export lists do not exist: {named(missing)}."
    mend = "Correct their paths in the annotation files, or add the images."
    if not count:
        return f"{absent} {mend}" if missing else f"the {kind} export lists no image. Export it again with its images."
    nothing = f"none of the {count} images of the {kind} export is a good training image, that is one without an "
    nothing += "annotation of a defect."
    if missing:
        return f"{nothing} {absent} {mend}"
    return f"{nothing} ReConPatch learns from good images alone. Add images of good parts."


def half_of_subset(subset: str) -> str | None:
    """Return the split that a subset is named after, also as one word of its name ('train2017').

    Args:
        subset: Name of the subset.

    Returns:
        'train', 'validation' or 'test'; None for another name.
    """
    words = [subset, *re.split(r"[^a-z]+", subset.lower())]
    return next((half for word in words if (half := half_of(word)) is not None), None)


def _walk(category: str, export: Export) -> Walk:
    """Return the images of an export with their splits."""
    walk, passed = (
        Walk(warnings=list(export.warnings)),
        {reason: list(names) for reason, names in export.passed.items()},
    )
    halves = {image.subset: half_of_subset(image.subset) for image in export.images}
    for annotated in export.images:
        split, reason = _split(annotated, halves)
        if reason:
            passed.setdefault(reason, []).append(annotated.image[0])
        if split:
            defect = "+".join(annotated.defects) or GOOD
            walk.add(category, annotated.image, split=split, defect=defect, truth=annotated.truth)
    walk.warnings += [f"{named(names)}: {reason}" for reason, names in passed.items()]
    return walk


def _split(annotated: Annotated, halves: Mapping[str, str | None]) -> tuple[str | None, str]:
    """Return the split of an image, None to leave it out, and the reason if it is left out or moved.

    Without a split, good images are training images and the others are test images, as in plain folders.
    """
    known = set(filter(None, halves.values()))
    if known <= {TRAIN}:
        return (TEST if annotated.defects else TRAIN), ""
    half = halves[annotated.subset]
    if half is None and TRAIN in known:
        return None, f"excluded, because its subset '{annotated.subset}' is neither for training nor for testing."
    half = half or TRAIN
    if not annotated.defects:
        return half, ""
    if half == TRAIN:
        return None, "excluded from training, because it has annotations of defects."
    return TEST, "used as test image, because validation images must be good." if half == VALIDATION else ""


def malformed(data: Store, name: str, kind: str, reason: object) -> UsageError:
    """Return the error for an annotation file that is not valid.

    Args:
        data: Data root.
        name: Name of the file below the root.
        kind: Name of the format.
        reason: What is wrong with the file.
    """
    text = f"the key {reason} is missing" if isinstance(reason, KeyError) else reason
    return UsageError(f"{data.below(name).uri} is not a valid {kind} file ({text}). Export it again, or correct it.")


def read_json(data: Store, name: str, kind: str) -> Any:
    """Return the value in a JSON file.

    Args:
        data: Data root.
        name: Name of the file below the root.
        kind: Name of the format in the message.

    Returns:
        The value.

    Raises:
        UsageError: The file is not JSON in UTF-8.
    """
    try:
        return json.loads(data.read(name).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise malformed(data, name, kind, error) from error
