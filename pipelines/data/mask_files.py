"""Which files of a dataset are masks: by the names of files and folders, without reading them.

The rules hold for all layouts and for new images that are scored:

* A file `<stem>_mask` (or another word of `_MASK_STEM`, also with a number at the end) or `mask_<stem>` beside an image
  `<stem>` is a mask of it.
* If a folder contains .jpg and .png files, and each .png has the stem of a .jpg, the .png files are masks.
* A folder of `MASK_FOLDERS` contains masks if the path of at least one of its files, without that folder, is the path
  of an image; `<folder>/<stem>/<any name>` is one of several masks of `<stem>`. Else the folder is like any other.
* Files directly in a folder `masks`, `gt` or `ground_truth` also pair with images of the same stem in one folder beside
  it or below, other than that of good images; if several folders have the stem, they pair with none.
* A folder of `MODALITIES` beside a folder of `IMAGE_FOLDERS` contains no images, nor does one whose files pair with
  images in the way of masks.

Folders of `IMAGE_FOLDERS` and the names of halves may be missing in the path of the mask. Names are compared exactly,
then in any case and in Unicode's composed form (NFC).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pipelines.data.discovery import File, composed, named
from pipelines.data.records import TEST, TRAIN, VALIDATION
from reconpatch.imaging.images import SUFFIXES

# All names are in lower case; folders are compared in any case.
GOOD_NAMES = frozenset({"good", "ok", "normal"})
_ONLY_MASKS = frozenset({"gt", "masks", "ground_truth", "groundtruth"})  # unlike `label`, hardly ever a defect
MASK_FOLDERS = _ONLY_MASKS | {"mask", "label", "labels", "annotation", "annotations", "segmentation", "segmentations"}
MODALITIES = frozenset({"xyz", "depth", "ps", "normals", "pointcloud", "pointclouds", "point_cloud"})
IMAGE_FOLDERS = frozenset({"rgb", "img", "imgs", "image", "images", "data"})
_HALVES: Mapping[str, str] = {
    "train": TRAIN,
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "test_public", "test_private", "test_private_mixed"), TEST),
}
_MASK_STEM = re.compile(
    r"(.+)(?:-mask|_(?:masks?|label|gt|seg|segmentation|annotation))_?\d*|mask_(.+)", re.IGNORECASE | re.DOTALL
)
# Folders that are left out of the paths that are compared, in the order in which this is tried.
_LEFT_OUT = (frozenset[str](), IMAGE_FOLDERS, frozenset(_HALVES), IMAGE_FOLDERS | frozenset(_HALVES))
_Key = tuple[tuple[str, ...], str]  # folders and stem


def half_of(folder: str) -> str | None:
    """Return the split that a folder is named after, in any case.

    Args:
        folder: Name of a folder, without its parents.

    Returns:
        'train', 'validation' or 'test'; None for another name.
    """
    return _HALVES.get(folder.lower())


def is_good_name(folder: str) -> bool:
    """Return whether a folder is named as one of good images, in any case.

    Args:
        folder: Name of a folder, without its parents.
    """
    return folder.lower() in GOOD_NAMES


def is_mask_folder(folder: str) -> bool:
    """Return whether a folder is named as one of masks, in any case.

    Args:
        folder: Name of a folder, without its parents.
    """
    return folder.lower() in MASK_FOLDERS


@dataclass(frozen=True)
class Separated:
    """Images and masks of a list of files.

    Attributes:
        images: Files that are images to be learned from or scored, in the given order.
        masks_of: Name of an image -> its masks, for images that have any.
        notes: Sentences for the user about files that are neither, and about masks that lie beside images.
        in_folders: Names of the masks that are in folders of masks; the notes do not name them.
    """

    images: list[File] = field(default_factory=list)
    masks_of: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    in_folders: list[str] = field(default_factory=list)


def separate_masks(files: Sequence[File], below: str = "") -> Separated:
    """Separate images from masks and from files of other modalities, by their names.

    Args:
        files: Files of a data root, sorted by name; files without a suffix of an image are ignored.
        below: Beginning of all names that says nothing, as the path of a category; ends with '/' unless it is empty.

    Returns:
        Images, masks and notes.
    """
    paths = [path for file in files if (path := _Path.of(file, below)) is not None]
    twins = _twins(paths)
    if not any(path.is_special for path in paths) and not twins:
        return Separated([path.file for path in paths])
    return _Separation(paths, twins).result()


@lru_cache(maxsize=100_000)
def _has_special_folder(folders: tuple[str, ...]) -> bool:
    return any(folder.lower() in MASK_FOLDERS or folder.lower() in MODALITIES for folder in folders)


@dataclass(frozen=True, slots=True)
class _Path:
    """An image file, with its folders below the category, its stem, and its suffix in lower case with the dot."""

    file: File
    folders: tuple[str, ...]
    stem: str
    suffix: str

    @classmethod
    def of(cls, file: File, below: str) -> _Path | None:
        """Take a name apart; None if it has no suffix of an image."""
        *folders, name = file[0].removeprefix(below).split("/")
        stem, dot, suffix = name.rpartition(".")
        suffix = f".{suffix.lower()}"
        return cls(file, tuple(folders), stem, suffix) if dot and stem and suffix in SUFFIXES else None

    @property
    def name(self) -> str:
        return self.file[0]

    @property
    def is_special(self) -> bool:
        """Whether the name could be that of a mask or of another modality."""
        return _MASK_STEM.fullmatch(self.stem) is not None or _has_special_folder(self.folders)

    def places(self, names: Collection[str]) -> Iterator[int]:
        """Yield the positions of the folders with one of the names."""
        return (place for place, folder in enumerate(self.folders) if folder.lower() in names)

    def without(self, place: int) -> tuple[str, ...]:
        """Return the folders without the one at a position."""
        return (*self.folders[:place], *self.folders[place + 1 :])

    def stems(self) -> tuple[str, ...]:
        """Return the stems of the image that the file may be a mask of, the more telling one first."""
        match = _MASK_STEM.fullmatch(self.stem)
        return (self.stem,) if match is None else (match[1] or match[2], self.stem)


def _twins(paths: Iterable[_Path]) -> set[str]:
    """Return the names of .png files that are masks, because their folder has a .jpg file of each of their stems."""
    photos: dict[tuple[str, ...], set[str]] = {}
    graphics: dict[tuple[str, ...], dict[str, str]] = {}
    for path in paths:
        if path.suffix in (".jpg", ".jpeg"):
            photos.setdefault(path.folders, set()).add(path.stem)
        elif path.suffix == ".png":
            graphics.setdefault(path.folders, {})[path.stem] = path.name
    return {
        name
        for folder, names in graphics.items()
        if folder in photos and names.keys() <= photos[folder]
        for name in names.values()
    }


@lru_cache(maxsize=100_000)
def _kept(folders: tuple[str, ...], left_out: frozenset[str]) -> tuple[str, ...]:
    return tuple(folder for folder in folders if folder.lower() not in left_out)


@lru_cache(maxsize=100_000)
def _is_test(folders: tuple[str, ...]) -> bool:
    return any(half_of(folder) == TEST for folder in folders)


def _loose(key: _Key) -> _Key:
    folders, stem = key
    return tuple(composed(folder).casefold() for folder in folders), composed(stem).casefold()


class _Targets:
    """Images that masks are paired with, by their paths."""

    def __init__(self, paths: Sequence[_Path]) -> None:
        self._paths = paths
        self._maps: dict[tuple[frozenset[str], bool], dict[_Key, list[_Path]]] = {}

    def find(self, folders: tuple[str, ...], stem: str, mask: _Path) -> list[_Path]:
        """Return the images at a path; if they are in several folders, the path is not clear and none is returned.

        Args:
            folders: Folders of the path, without that of masks.
            stem: Last part of the path.
            mask: The mask, which is not an image of its own.
        """
        for is_loose in (False, True):
            for left_out in _LEFT_OUT:
                key = (_kept(folders, left_out), stem)
                found = self._map(left_out, is_loose=is_loose).get(_loose(key) if is_loose else key, [])
                found = [path for path in found if path.name != mask.name]
                if tested := [path for path in found if _is_test(path.folders)]:
                    found = tested
                if found and len({path.folders for path in found}) == 1:
                    return found
        return []

    def _map(self, left_out: frozenset[str], *, is_loose: bool) -> dict[_Key, list[_Path]]:
        """Return the images by key; the map is made when it is first needed."""
        if (left_out, is_loose) not in self._maps:
            by_key: dict[_Key, list[_Path]] = {}
            for path in self._paths:
                key = (_kept(path.folders, left_out), path.stem)
                by_key.setdefault(_loose(key) if is_loose else key, []).append(path)
            self._maps[left_out, is_loose] = by_key
        return self._maps[left_out, is_loose]


class _Separation:
    """One call of `separate_masks`."""

    def __init__(self, paths: Sequence[_Path], twins: Collection[str]) -> None:
        self._paths = paths
        self._others = self._modalities()
        judged = [path for path in paths if path.name not in self._others]
        self._targets = _Targets([path for path in judged if path.name not in twins])
        self._by_stem: dict[str, list[_Path]] = {}  # images that a folder of masks without folders may belong to
        for path in judged:
            if not any(is_good_name(name) or is_mask_folder(name) for name in path.folders):
                self._by_stem.setdefault(path.stem, []).append(path)
        self._folders: set[tuple[str, ...]] = set()  # folders of masks of which at least one has an image
        self._beside: dict[str, None] = {}
        self._images_of: dict[str, list[_Path]] = {}  # name of a mask -> its images
        for path in judged:
            images = self._of_mask_folder(path) or self._of_mask_beside(path, is_twin=path.name in twins)
            if images:
                self._images_of[path.name] = images

    def _modalities(self) -> set[str]:
        """Return the names of the files in folders of other modalities."""
        if not any(True for path in self._paths for _ in path.places(MODALITIES)):
            return set()
        # `color` is also a common defect, so that it counts here only.
        beside = {path.folders[:place] for path in self._paths for place in path.places({*IMAGE_FOLDERS, "color"})}
        targets = _Targets([path for path in self._paths if not any(True for _ in path.places(MODALITIES))])
        return {
            path.name
            for path in self._paths
            for place in path.places(MODALITIES)
            if path.folders[:place] in beside or targets.find(path.without(place), path.stem, path)
        }

    def _of_mask_folder(self, path: _Path) -> list[_Path]:
        """Return the images of a file in a folder of masks."""
        for place in path.places(MASK_FOLDERS):
            folders = path.without(place)
            inside = path.folders[place + 1 :]
            tried = [(folders, stem) for stem in path.stems()]
            if inside:
                tried.append((folders[:-1], folders[-1]))  # one of several masks in a folder named like the image
            for parents, stem in tried:
                if images := self._targets.find(parents, stem, path):
                    self._folders.add(path.folders[: place + 1])
                    return images
            if not inside and path.folders[place].lower() in _ONLY_MASKS and (images := self._in_one_folder(path)):
                self._folders.add(path.folders)
                return images
        return []

    def _in_one_folder(self, path: _Path) -> list[_Path]:
        """Return the images of a mask that is directly in a folder of masks for several folders of images."""
        parents = path.folders[:-1]
        for stem in path.stems():
            found = [image for image in self._by_stem.get(stem, ()) if image.folders[: len(parents)] == parents]
            if found and len({image.folders for image in found}) == 1:
                return found
        return []

    def _of_mask_beside(self, path: _Path, *, is_twin: bool) -> list[_Path]:
        """Return the images of a file that is named like a mask and lies in the folder of its image."""
        stem = path.stems()[0]
        if stem == path.stem and not is_twin:
            return []
        images = [image for image in self._targets.find(path.folders, stem, path) if image.folders == path.folders]
        if images:
            self._beside[path.name] = None
        return images

    def result(self) -> Separated:
        """Return images, masks and notes."""
        images, unused, unpaired = [], [], set()
        masks_of: dict[str, list[File]] = {}
        for path in self._paths:
            prefixes = [path.folders[: place + 1] for place in path.places(MASK_FOLDERS)]
            if path.name in self._others:
                continue
            if path.name in self._images_of:
                for image in self._images_of[path.name]:
                    masks_of.setdefault(image.name, []).append(path.file)
            elif any(prefix in self._folders for prefix in prefixes):
                unused.append(path.name)
            else:
                images.append(path.file)
                unpaired |= {path.name.rsplit("/", len(path.folders) - len(prefix) + 1)[0] for prefix in prefixes}
        kept = {name for name, _ in images}
        masks = {image: tuple(files) for image, files in masks_of.items() if image in kept}
        in_folders = [name for name in self._images_of if name not in self._beside]
        return Separated(images, masks, list(self._notes(unused, sorted(unpaired))), in_folders)

    def _notes(self, unused: Sequence[str], unpaired: Sequence[str]) -> Iterator[str]:
        if self._others:
            yield f"{named(sorted(self._others))}: not used, because only images of color or brightness are read."
        if self._beside:
            yield f"{named(list(self._beside))}: taken as a mask of the image beside it that has the same name."
        if unused:
            yield f"{named(unused)}: mask not used, because no image in the matching folder has that name."
        if unpaired:
            yield (
                f"{named(unpaired)}: a folder of this name usually contains masks, but none of its files has the name "
                "of another image. It is treated like any other folder."
            )
