"""What layouts are made of: the files of a data root, which of them are images, which masks belong to them.

A layout (`pipelines.data.layouts`) collects the images of a category in a `Walk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from unicodedata import normalize

import pyarrow.fs as pafs

from pipelines.data.records import GOOD, ImageRecord
from pipelines.storage.listing import Contents
from pipelines.storage.store import Store
from reconpatch.imaging.images import SUFFIXES

# A file's name below the data root, and its size and time; None for a file that a list names and that does not exist.
File = tuple[str, pafs.FileInfo | None]

# Images that are common in such folders and cannot be read: a warning names them, other foreign files are ignored.
_UNSUPPORTED = frozenset({".gif", ".jp2", ".heic", ".heif", ".avif", ".exr", ".pgm", ".ppm", ".dng", ".raw", ".svg"})
# Folders that file systems and storage servers create at the root of a disk, often without permission to read.
_SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "#recycle"})


@dataclass
class Walk:
    """The images of one category that a layout has found so far.

    Attributes:
        images: in the order in which they were added.
        warnings: sentences for the user.
    """

    images: list[ImageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, category: str, image: File, *, split: str, defect: str | None, mask: File | None = None) -> None:
        """Add an image.

        Args:
            category: that the image belongs to.
            image: the file.
            split: 'train' or 'test'.
            defect: `GOOD`, the name of the defect, or None where it is not known; the label follows from it.
            mask: of the defect; ignored for an image without one.
        """
        path, info = image
        label = None if defect is None else int(defect != GOOD)
        mask_path, mask_info = mask if mask is not None and label else (None, None)
        fingerprint = fingerprint_of(info, mask_info)
        self.images.append(ImageRecord(category, split, defect, path, mask_path, label, fingerprint=fingerprint))


def image_folders(store: Store) -> list[str]:
    """Return the names of the folders directly in a data root, without hidden ones and those of the file system."""
    return [name for name in store.folders() if not name.startswith(".") and name not in _SYSTEM_FOLDERS]


def files_below(store: Store, folder: str, walk: Walk) -> list[File]:
    """Return all files below a folder that are not hidden, sorted by name.

    Args:
        store: the data root.
        folder: below it; empty for the root itself.
        walk: gets warnings about files and folders that are left out.
    """
    contents = store.contents(folder)
    walk.warnings += listing_warnings(store, contents, folder)
    prefix = len(folder) + 1 if folder else 0
    files = ((store.name_of(info), info) for info in contents.files)
    return [(name, info) for name, info in files if not _is_hidden(name[prefix:])]


def listing_warnings(store: Store, contents: Contents, folder: str = "") -> list[str]:
    """Return sentences about what a listing of a folder leaves out, hidden names aside.

    Args:
        store: the data root.
        contents: of the folder.
        folder: below the root; empty for the root itself.
    """
    prefix = len(folder) + 1 if folder else 0
    unnamable, loops = (
        [ascii(name) for name in (path[len(store.root) + 1 :] for path in paths) if not _is_hidden(name[prefix:])]
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
    """Return the files whose names begin with a prefix."""
    return [(name, info) for name, info in files if name.startswith(prefix)]


def by_folder(files: Iterable[File], prefix: str) -> dict[str, list[File]]:
    """Return folder directly below a prefix -> the files in it at any depth; files in no such folder are left out.

    Args:
        files: sorted by name.
        prefix: of names, ending with '/' unless it is empty.
    """
    folders: dict[str, list[File]] = {}
    for name, info in within(files, prefix):
        folder, slash, _ = name[len(prefix) :].partition("/")
        if slash:
            folders.setdefault(folder, []).append((name, info))
    return dict(sorted(folders.items()))


def pictures_in(files: Iterable[File], walk: Walk) -> Iterable[File]:
    """Yield the files that are images, by suffix in any case; `walk` gets a warning for each of an unsupported kind."""
    for name, info in files:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            yield name, info
        elif suffix in _UNSUPPORTED:
            walk.warnings.append(f"{name}: {suffix} images are not read; convert it to PNG.")


def fingerprint_of(image: pafs.FileInfo | None, mask: pafs.FileInfo | None = None) -> str | None:
    """Return sizes and modification times of an image and its mask as text; None where the image does not exist."""
    if image is None:
        return None
    return "|".join(f"{info.size}-{info.mtime_ns}" for info in (image, mask) if info is not None)


class Masks:
    """The masks of one defect, paired with images by stem: `<stem>_mask` before `<stem>`, in the same subfolder.

    Names are compared in Unicode's composed form: some systems store é as e and a combining accent.
    """

    def __init__(self, files: Sequence[File], folder: str) -> None:
        """Collect the masks.

        Args:
            files: of the category.
            folder: that holds the masks of the defect, ending with '/'.
        """
        in_folder = within(files, folder) or [file for file in files if composed(file[0]).startswith(composed(folder))]
        depth = folder.count("/")
        by_stem = {
            str(PurePosixPath(name.split("/", depth)[-1]).with_suffix("")): (name, info)
            for name, info in in_folder
            if PurePosixPath(name).suffix.lower() in SUFFIXES
        }
        self._files = {composed(stem): file for stem, file in by_stem.items()} | by_stem
        self._used: set[str] = set()

    def find(self, image: str) -> File | None:
        """Return the mask of an image, given its name below the folder of the defect; None where it has none."""
        stem = str(PurePosixPath(image).with_suffix(""))
        for name in (f"{stem}_mask", stem):
            file = self._files.get(name) or self._files.get(composed(name))
            if file is not None:
                self._used.add(file[0])
                return file
        return None

    def unused(self) -> list[str]:
        """Return the names of the masks that `find` has not returned."""
        return list(dict.fromkeys(path for path, _ in self._files.values() if path not in self._used))


def composed(name: str) -> str:
    """Return a name in composed form, for comparison only."""
    return normalize("NFC", name)


def named(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, separated by commas, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
