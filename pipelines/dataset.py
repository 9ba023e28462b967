"""From folders to an index: which images there are, and what they are.

MVTec AD's layout: `<category>/train/good`, `test/<defect>`, `ground_truth/<defect>/<stem>_mask.png`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from pipelines.config import UsageError
from pipelines.resources import measured
from pipelines.storage import Store, side_by_side
from reconpatch.images import SUFFIXES, ImageError, Picture, read_picture
from reconpatch.thresholds import held_out

# Pictures that people have in such folders and that are not read: named, where other foreign files are passed over.
_OTHER_IMAGES = frozenset({".gif", ".jp2", ".heic", ".heif", ".avif", ".exr", ".pgm", ".ppm", ".dng", ".raw", ".svg"})
# What file systems and storage boxes put at the root of a disk, often not to be read by everyone.
_NO_CATEGORIES = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "#recycle"})


@dataclass(frozen=True)
class Image:
    """One row of index.parquet; paths are relative to the data root and '/'-separated."""

    category: str
    split: str
    defect: str | None
    image_path: str
    mask_path: str | None = None
    label: int | None = None
    part: str | None = None
    width: int | None = None
    height: int | None = None
    content_sha256: str | None = None
    mask_sha256: str | None = None
    fingerprint: str | None = None

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Listing:
    """What a data root holds: images in order of their paths, and sentences about what is odd."""

    categories: tuple[str, ...]
    images: tuple[Image, ...]
    warnings: tuple[str, ...] = ()


@dataclass
class _Walk:
    images: list[Image] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_categories(data: Store, asked: Sequence[str] = ()) -> list[str]:
    """Folders with a `train` or a `test` in them, sorted; those that were asked for, if any were.

    Raises:
        UsageError: the root is no folder, holds no category, or lacks one that was asked for.
    """
    names = image_folders(data)
    inside = side_by_side(data.folders, names)
    found = [name for name, folders in zip(names, inside, strict=True) if {"train", "test"} & set(folders)]
    if not found:
        if data.filesystem.get_file_info(data.path()).type != pafs.FileType.Directory:
            raise UsageError(f"--data {data.uri}: there is no such folder.")
        raise UsageError(
            f"--data {data.uri}: no category in it; a category is a folder with good images in <category>/train/good."
        )
    missing = [category for category in asked if category not in found]
    if missing:
        raise UsageError(f"--category {', '.join(missing)}: not in {data.uri}, which has {', '.join(found[:20])}.")
    return [category for category in found if not asked or category in asked]


def image_folders(store: Store) -> list[str]:
    """Folders that may be a category's: those at the top, without what is hidden or the file system's own."""
    return [name for name in store.folders() if not name.startswith(".") and name not in _NO_CATEGORIES]


def list_images(data: Store, categories: Sequence[str] = ()) -> Listing:
    """List the categories below a data root; nothing is opened yet.

    Raises:
        UsageError: as `find_categories`.
    """
    chosen = find_categories(data, categories)
    walks = side_by_side(lambda category: _walk_category(data, category), chosen)
    images = [image for walk in walks for image in walk.images]
    return Listing(tuple(chosen), tuple(images), tuple(sentence for walk in walks for sentence in walk.warnings))


def find_new(images: Store, folder: str = "") -> tuple[list[pafs.FileInfo], list[str]]:
    """All image files below a folder, to be scored by a model, and sentences about what is odd.

    They are not `Image`s yet, which take five times the memory: a million of them are scored in one call.
    """
    walk = _Walk()
    found = [info for _, info in _images_in(images, _files(images, folder), walk)]
    return found, walk.warnings


def new_images(images: Store, category: str, files: Sequence[pafs.FileInfo]) -> list[Image]:
    """Rows of split 'new'; nothing is known of them, but in a category's own test folder what they are filed under."""
    found = []
    for info in files:
        path = images.name_of(info)
        parts = path.removeprefix(f"{category}/test/").split("/") if path.startswith(f"{category}/test/") else []
        defect = parts[0] if len(parts) > 1 else None
        label = None if defect is None else int(defect != "good")
        found.append(Image(category, "new", defect, path, label=label, fingerprint=_fingerprint(info)))
    return found


def _walk_category(data: Store, category: str) -> _Walk:
    walk = _Walk()
    files = _files(data, category)
    for path, info in _images_in(data, _within(files, f"{category}/train/good/"), walk):
        walk.images.append(Image(category, "train", "good", path, label=0, fingerprint=_fingerprint(info)))
    tests: dict[str, list[tuple[str, pafs.FileInfo]]] = {}
    for path, info in _within(files, f"{category}/test/"):
        parts = PurePosixPath(path).parts
        if len(parts) > len(PurePosixPath(category).parts) + 2:  # a loose file in test/ has no label
            tests.setdefault(parts[len(PurePosixPath(category).parts) + 1], []).append((path, info))
    for defect, inside in sorted(tests.items()):
        masks = _Masks(_within(files, f"{category}/ground_truth/{defect}/"), f"{category}/ground_truth/{defect}/")
        for path, info in _images_in(data, inside, walk):
            label = 0 if defect == "good" else 1
            mask = masks.find(path.removeprefix(f"{category}/test/{defect}/")) if label else None
            walk.images.append(
                Image(
                    category,
                    "test",
                    defect,
                    path,
                    None if mask is None else mask[0],
                    label,
                    fingerprint=_fingerprint(info, None if mask is None else mask[1]),
                )
            )
        if defect != "good" and (unused := masks.unused()):
            named = ", ".join(unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
            walk.warnings.append(f"{named}: no image of that stem in {category}/test/{defect}; it is not used.")
    return walk


def _files(store: Store, folder: str) -> list[tuple[str, pafs.FileInfo]]:
    """(name, info) of all files below a folder, sorted; nothing hidden."""
    named = ((store.name_of(info), info) for info in store.files(folder))
    inside = len(folder) + 1 if folder else 0
    return [(name, info) for name, info in named if not any(part.startswith(".") for part in name[inside:].split("/"))]


def _within(files: Iterable[tuple[str, pafs.FileInfo]], prefix: str) -> list[tuple[str, pafs.FileInfo]]:
    return [(name, info) for name, info in files if name.startswith(prefix)]


def _images_in(
    store: Store, files: Iterable[tuple[str, pafs.FileInfo]], walk: _Walk
) -> Iterable[tuple[str, pafs.FileInfo]]:
    """Those of the kinds that are read, suffix in any case; other pictures are named, foreign files are not."""
    for name, info in files:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            yield name, info
        elif suffix in _OTHER_IMAGES:
            walk.warnings.append(f"{name}: {suffix} images are not read; convert it to PNG.")


def _fingerprint(image: pafs.FileInfo, mask: pafs.FileInfo | None = None) -> str:
    """Size and time of a picture and of its mask: while they stay, so do the contents."""
    return "|".join(f"{info.size}-{info.mtime_ns}" for info in (image, mask) if info is not None)


class _Masks:
    """The masks of one defect, paired by stem: `<stem>_mask` before `<stem>`, in the image's own subfolder."""

    def __init__(self, files: Sequence[tuple[str, pafs.FileInfo]], folder: str) -> None:
        self._files = {
            str(PurePosixPath(name.removeprefix(folder)).with_suffix("")): (name, info)
            for name, info in files
            if PurePosixPath(name).suffix.lower() in SUFFIXES
        }
        self._used: set[str] = set()

    def find(self, image: str) -> tuple[str, pafs.FileInfo] | None:
        stem = str(PurePosixPath(image).with_suffix(""))
        for name in (f"{stem}_mask", stem):
            if name in self._files:
                self._used.add(name)
                return self._files[name]
        return None

    def unused(self) -> list[str]:
        return [path for name, (path, _) in self._files.items() if name not in self._used]


def trust(image: Image, known: Mapping[str, Mapping[str, Any]]) -> Image | None:
    """The image completed from an earlier index row of the same fingerprint and mask, or None."""
    row = known.get(image.image_path)
    if row is None or row["fingerprint"] != image.fingerprint or row["mask_path"] != image.mask_path:
        return None
    names = ("width", "height", "content_sha256", "mask_sha256")
    return replace(image, **{name: row[name] for name in names})


@dataclass(frozen=True)
class Examined:
    """An image that was read: its completed index row, or what is wrong with it.

    Attributes:
        error: why it cannot be read.
        mode: what kind of picture it is, for people.
        frames: how many pictures the file holds.
        lowest_sixteenth: of a picture with more than 8 bits a channel, whether all its values are in the lowest
            sixteenth of the range; None for others.
    """

    image: Image
    error: str | None = None
    mode: str = ""
    frames: int = 1
    lowest_sixteenth: bool | None = None


def examine_all(data: Store, images: Sequence[Image], bit_depth: int) -> tuple[list[Examined], int]:
    """Examine several images; also the peak of the process's memory, in bytes."""
    with measured() as usage:
        examined = [examine(data, image, bit_depth) for image in images]
    return examined, usage.peak_bytes


def examine(data: Store, image: Image, bit_depth: int) -> Examined:
    """Hash an image and its mask, and decode it whole: what is broken is known before anything is fitted."""
    try:
        content = data.read(image.image_path)
        image = replace(image, content_sha256=hashlib.sha256(content).hexdigest())
        if image.mask_path is not None:
            image = replace(image, mask_sha256=hashlib.sha256(data.read(image.mask_path)).hexdigest())
        picture = read_picture(content, bit_depth)
    except (ImageError, OSError) as error:
        return Examined(image, " ".join(str(error).split()))
    height, width = picture.pixels.shape[:2]
    return Examined(
        replace(image, width=width, height=height),
        mode=picture.mode,
        frames=picture.frames,
        lowest_sixteenth=_lowest_sixteenth(picture),
    )


def _lowest_sixteenth(picture: Picture) -> bool | None:
    return None if picture.bits <= 8 else picture.largest < 1 / 16


def assign_parts(images: Sequence[Image], holdout: float) -> list[Image]:
    """Good training images are fitted or held out, by their contents alone (`reconpatch.thresholds.held_out`)."""
    parts: dict[str, str] = {}
    for train in by_category([image for image in images if image.split == "train"]).values():
        aside = held_out([str(image.content_sha256) for image in train], holdout)
        parts |= {
            image.image_path: "holdout" if kept else "fit" for image, kept in zip(train, aside.tolist(), strict=True)
        }
    return [replace(image, part=parts.get(image.image_path)) for image in images]


def by_category(images: Sequence[Image]) -> dict[str, list[Image]]:
    """The images of each category, in the order given."""
    found: dict[str, list[Image]] = {}
    for image in images:
        found.setdefault(image.category, []).append(image)
    return found
