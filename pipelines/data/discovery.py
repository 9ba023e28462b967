"""Building blocks of directory layouts: listing the files of a data root, selecting the images and pairing the masks.

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

# Name of a file below the data root, and its size and modification time; None if a list names a file that does not
# exist.
File = tuple[str, pafs.FileInfo | None]

# Image formats that are common in datasets but not supported. A warning names such files; other files are ignored.
_UNSUPPORTED = frozenset({".gif", ".jp2", ".heic", ".heif", ".avif", ".exr", ".pgm", ".ppm", ".dng", ".raw", ".svg"})
# Folders that file systems and storage servers create at the root of a disk. Often they cannot be read.
_SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "#recycle"})


@dataclass
class Walk:
    """Images of one category, collected by a layout.

    Attributes:
        images: Images in the order in which they were added.
        warnings: Sentences for the user about files that are skipped or not used.
    """

    images: list[ImageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, category: str, image: File, *, split: str, defect: str | None, mask: File | None = None) -> None:
        """Add an image.

        Args:
            category: Category of the image.
            image: Name and file information of the image.
            split: 'train' or 'test'.
            defect: `GOOD`, the name of the defect, or None if it is not known. It determines the label.
            mask: Name and file information of the mask; ignored unless the image has a defect.
        """
        path, info = image
        label = None if defect is None else int(defect != GOOD)
        mask_path, mask_info = mask if mask is not None and label else (None, None)
        fingerprint = fingerprint_of(info, mask_info)
        self.images.append(ImageRecord(category, split, defect, path, mask_path, label, fingerprint=fingerprint))


def image_folders(store: Store) -> list[str]:
    """Return the names of the folders directly below a data root, without hidden and system folders.

    Args:
        store: Data root.

    Returns:
        Folder names, sorted.
    """
    return [name for name in store.folders() if not name.startswith(".") and name not in _SYSTEM_FOLDERS]


def files_below(store: Store, folder: str, walk: Walk) -> list[File]:
    """Return all files below a folder that are not hidden, sorted by name.

    Args:
        store: Data root.
        folder: Folder below the root; empty for the root itself.
        walk: Receives warnings about files and folders that are skipped.

    Returns:
        Name below the root and file information of each file.
    """
    contents = store.contents(folder)
    walk.warnings += listing_warnings(store, contents, folder)
    prefix = len(folder) + 1 if folder else 0
    files = ((store.name_of(info), info) for info in contents.files)
    return [(name, info) for name, info in files if not _is_hidden(name[prefix:])]


def listing_warnings(store: Store, contents: Contents, folder: str = "") -> list[str]:
    """Return warnings about files and folders that a listing skips; hidden ones are not reported.

    Args:
        store: Data root.
        contents: Contents of the folder.
        folder: Folder below the root; empty for the root itself.

    Returns:
        Sentences for the user; empty if nothing is skipped.
    """
    prefix = len(folder) + 1 if folder else 0
    unnamable, loops = (
        [ascii(name) for name in (path[len(store.root) + 1 :] for path in paths) if not _is_hidden(name[prefix:])]
        for paths in (contents.unnamable, contents.loops)
    )
    sentences = []
    if unnamable:
        sentences.append(
            f"{named(unnamable)}: skipped, because a name must be valid UTF-8 and must not contain the component '..'. "
            "Rename it."
        )
    if loops:
        sentences.append(f"{named(loops)}: link not followed, because it points to a folder that contains it.")
    return sentences


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/") if part != "..")


def within(files: Iterable[File], prefix: str) -> list[File]:
    """Return the files whose names begin with a prefix.

    Args:
        files: Files of a data root.
        prefix: Beginning of the names, usually a folder that ends with '/'.

    Returns:
        Matching files in the given order.
    """
    return [(name, info) for name, info in files if name.startswith(prefix)]


def by_folder(files: Iterable[File], prefix: str) -> dict[str, list[File]]:
    """Group files by the folder directly below a prefix; files that are in no such folder are omitted.

    Args:
        files: Files of a data root, sorted by name.
        prefix: Beginning of the names; ends with '/' unless it is empty.

    Returns:
        Folder name -> the files in the folder at any depth; folders are sorted.
    """
    folders: dict[str, list[File]] = {}
    for name, info in within(files, prefix):
        folder, slash, _ = name[len(prefix) :].partition("/")
        if slash:
            folders.setdefault(folder, []).append((name, info))
    return dict(sorted(folders.items()))


def pictures_in(files: Iterable[File], walk: Walk) -> Iterable[File]:
    """Yield the files that are images according to their suffix, in upper or lower case.

    Args:
        files: Files of a data root.
        walk: Receives a warning for each image in an unsupported format.

    Yields:
        Name and file information of each supported image.
    """
    for name, info in files:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            yield name, info
        elif suffix in _UNSUPPORTED:
            walk.warnings.append(f"{name}: {suffix} images are not supported. Convert the file to PNG.")


def fingerprint_of(image: pafs.FileInfo | None, mask: pafs.FileInfo | None = None) -> str | None:
    """Return a text that changes when an image or its mask changes.

    Args:
        image: File information of the image; None if it does not exist.
        mask: File information of the mask; None if there is no mask.

    Returns:
        Sizes in bytes and modification times in nanoseconds of the files; None if the image does not exist.
    """
    if image is None:
        return None
    return "|".join(f"{info.size}-{info.mtime_ns}" for info in (image, mask) if info is not None)


class Masks:
    """Masks of one defect, paired with images by name.

    The mask of <subfolder>/<stem>.png is <subfolder>/<stem>_mask, or else <subfolder>/<stem>. Names are also compared
    in Unicode's composed form (NFC), because some file systems store é as e and a combining accent.
    """

    def __init__(self, files: Sequence[File], folder: str) -> None:
        """Collect the masks.

        Args:
            files: All files of the category.
            folder: Folder with the masks of the defect; ends with '/'.
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
        """Return the mask of an image.

        Args:
            image: Name of the image below the folder of its defect.

        Returns:
            Name and file information of the mask; None if the image has no mask.
        """
        stem = str(PurePosixPath(image).with_suffix(""))
        for name in (f"{stem}_mask", stem):
            file = self._files.get(name) or self._files.get(composed(name))
            if file is not None:
                self._used.add(file[0])
                return file
        return None

    def unused(self) -> list[str]:
        """Return the names of the masks that `find` has not returned.

        Returns:
            Names below the data root.
        """
        return list(dict.fromkeys(path for path, _ in self._files.values() if path not in self._used))


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), for comparison only.

    Args:
        name: Name of a file, folder or category.

    Returns:
        The composed name; it may differ from the name of the file.
    """
    return normalize("NFC", name)


def named(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, separated by commas, and the number of remaining names.

    Args:
        names: Names of files.
        most: Largest number of names that are listed.

    Returns:
        Text such as 'a, b and 3 more'.
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
