"""Walking a data root: which files are pictures, which masks are theirs, and the rows of the index that they become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any
from unicodedata import normalize

import pyarrow.fs as pafs

from pipelines.listing import Contents
from pipelines.storage import Store
from reconpatch.images import SUFFIXES, ImageError

GOOD = "good"  # what a good image's defect is called, whatever its layout says
# A file's name below its root, and what the file system says of it: None where it was only said to be there.
File = tuple[str, pafs.FileInfo | None]
# What reading a picture may raise that is the picture's own matter.
UNREADABLE = (ImageError, OSError, MemoryError)

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
        """Its columns of index.parquet."""
        return asdict(self)


@dataclass
class Walk:
    """What was found in one category, so far: images, and sentences about what is odd."""

    images: list[Image] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, category: str, split: str, defect: str | None, picture: File, mask: File | None = None) -> None:
        """Add an image; its label follows from its defect.

        Args:
            split: 'train' or 'test'.
            defect: `GOOD`, the defect's name, or None where it is not known.
            mask: of no matter where there is no defect.
        """
        path, info = picture
        label = None if defect is None else int(defect != GOOD)
        mask_path, mask_info = mask if mask is not None and label else (None, None)
        fingerprint = fingerprint_of(info, mask_info)
        self.images.append(Image(category, split, defect, path, mask_path, label, fingerprint=fingerprint))


def image_folders(store: Store) -> list[str]:
    """Folders that may be a category's: those at the top, without what is hidden or the file system's own."""
    return [name for name in store.folders() if not name.startswith(".") and name not in _NO_CATEGORIES]


def files_below(store: Store, folder: str, walk: Walk) -> list[File]:
    """All files below a folder, sorted; nothing hidden. What had to be passed over is named."""
    contents = store.contents(folder)
    walk.warnings += oddities(store, contents, folder)
    inside = len(folder) + 1 if folder else 0
    found = ((store.name_of(info), info) for info in contents.files)
    return [(name, info) for name, info in found if not _is_hidden(name[inside:])]


def oddities(store: Store, contents: Contents, folder: str = "") -> list[str]:
    """Sentences about what a listing of a folder has passed over; nothing hidden."""
    inside = len(folder) + 1 if folder else 0
    unnamable, loops = (
        [ascii(name) for name in (path[len(store.root) + 1 :] for path in paths) if not _is_hidden(name[inside:])]
        for paths in (contents.unnamable, contents.loops)
    )
    sentences = []
    if unnamable:
        sentences.append(f"{named(unnamable)}: passed over; a name must be UTF-8 and have no '..': rename it.")
    if loops:
        sentences.append(f"{named(loops)}: not followed; the link leads to a folder that it lies in.")
    return sentences


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/") if part != "..")


def within(files: Iterable[File], prefix: str) -> list[File]:
    """Those whose names begin so."""
    return [(name, info) for name, info in files if name.startswith(prefix)]


def by_folder(files: Iterable[File], prefix: str) -> dict[str, list[File]]:
    """The folder right below a prefix that files are in, at any depth → the files, sorted; loose ones have none."""
    found: dict[str, list[File]] = {}
    for name, info in within(files, prefix):
        folder, inside, _ = name[len(prefix) :].partition("/")
        if inside:
            found.setdefault(folder, []).append((name, info))
    return dict(sorted(found.items()))


def pictures_in(files: Iterable[File], walk: Walk) -> Iterable[File]:
    """Those of the kinds that are read, suffix in any case; other pictures are named, foreign files are not."""
    for name, info in files:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            yield name, info
        elif suffix in _OTHER_IMAGES:
            walk.warnings.append(f"{name}: {suffix} images are not read; convert it to PNG.")


def fingerprint_of(image: pafs.FileInfo | None, mask: pafs.FileInfo | None = None) -> str | None:
    """Size and time of a picture and of its mask: while they stay, so do the contents. None where it is not there."""
    if image is None:
        return None
    return "|".join(f"{info.size}-{info.mtime_ns}" for info in (image, mask) if info is not None)


class Masks:
    """The masks of one defect, paired by stem: `<stem>_mask` before `<stem>`, in the image's own subfolder.

    An é is the same as an e with an accent of its own, which is what some systems make of it.
    """

    def __init__(self, files: Sequence[File], folder: str) -> None:
        inside = within(files, folder) or [file for file in files if composed(file[0]).startswith(composed(folder))]
        depth = folder.count("/")
        by_stem = {
            str(PurePosixPath(name.split("/", depth)[-1]).with_suffix("")): (name, info)
            for name, info in inside
            if PurePosixPath(name).suffix.lower() in SUFFIXES
        }
        self._files = {composed(stem): file for stem, file in by_stem.items()} | by_stem
        self._used: set[str] = set()

    def find(self, image: str) -> File | None:
        """The mask of an image, by its name below the defect's folder; it counts as used."""
        stem = str(PurePosixPath(image).with_suffix(""))
        for name in (f"{stem}_mask", stem):
            file = self._files.get(name) or self._files.get(composed(name))
            if file is not None:
                self._used.add(file[0])
                return file
        return None

    def unused(self) -> list[str]:
        """Names of the masks that no image has asked for."""
        return list(dict.fromkeys(path for path, _ in self._files.values() if path not in self._used))


def composed(name: str) -> str:
    """A name as it is compared, never as it is written: letters and their accents in one."""
    return normalize("NFC", name)


def reason_of(error: Exception) -> str:
    """What is wrong with a picture that could not be read, in one line."""
    if isinstance(error, MemoryError):  # mostly without a word of its own
        return "It takes more memory than there is; scale the picture down or cut it into tiles."
    return " ".join(str(error).split())


def named(names: Sequence[str], most: int = 5) -> str:
    """The first few names, for people, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
