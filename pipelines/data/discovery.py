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
from reconpatch.imaging.images import IMAGE_SUFFIXES_NOT_READ, SUFFIXES

# Name of a file below the data root, and its size and modification time; None if a list names a file that does not
# exist.
File = tuple[str, pafs.FileInfo | None]

# Folders that file systems create at the root of a disk, and storage servers in any folder. Often they cannot be read.
_SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", "#recycle"})


# Suffixes and names of files that commonly lie beside images; other files that are not used are named in a warning.
_NO_IMAGES = frozenset(
    [
        ".txt",
        ".md",
        ".rst",
        ".pdf",
        ".json",
        ".jsonl",
        ".yaml",
        ".yml",
        ".xml",
        ".csv",
        ".tsv",
        ".parquet",
        ".xlsx",
        ".xls",
        ".html",
        ".htm",
        ".log",
        ".ini",
        ".cfg",
        ".toml",
        ".db",
        ".py",
        ".sh",
        ".m",
        ".mat",
        ".seg",
        ".names",
        ".data",
        ".cache",
        ".pcd",
        ".ply",
        ".obj",
        ".stl",
    ]
)
_NO_IMAGE_NAMES = frozenset(
    {"license", "licence", "readme", "notice", "makefile", "md5sums", "sha256sums", "checksums"}
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a layout knows about an image besides its category, split and defect.

    Attributes:
        masks: Mask files of the image, which are united; or the annotation file that `shapes` is from.
        shapes: Outlines of the defects, JSON of `reconpatch.imaging.shapes`; None if the masks are image files.
        part_id: Workpiece that the image shows; None if each image shows another one.
        view: Camera, side or lighting; None if it is not known.
    """

    masks: tuple[File, ...] = ()
    shapes: str | None = None
    part_id: str | None = None
    view: str | None = None


NO_TRUTH = Truth()


@dataclass
class Walk:
    """Images of one category, collected by a layout.

    Attributes:
        images: Images in the order in which they were added.
        warnings: Sentences for the user about files that are skipped or not used.
    """

    images: list[ImageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, category: str, image: File, *, split: str, defect: str | None, truth: Truth = NO_TRUTH) -> None:
        """Add an image.

        Args:
            category: Category of the image.
            image: Name and file information of the image.
            split: 'train', 'validation' or 'test'.
            defect: `GOOD`, the name of the defect, or None if it is not known. It determines the label.
            truth: Masks, shapes, workpiece and view of the image. Masks and shapes are ignored unless it has a defect.
        """
        path, info = image
        label = None if defect is None else int(defect != GOOD)
        masks = truth.masks if label else ()
        self.images.append(
            ImageRecord(
                category,
                split,
                defect,
                path,
                masks[0][0] if masks else None,
                label,
                fingerprint=fingerprint_of(info, *(mask for _, mask in masks)),
                more_masks=() if truth.shapes is not None else tuple(name for name, _ in masks[1:]),
                shapes=truth.shapes if masks else None,
                part_id=truth.part_id,
                view=truth.view,
            )
        )


def image_folders(store: Store) -> list[str]:
    """Return the names of the folders directly below a data root, without hidden and system folders.

    Args:
        store: Data root.

    Returns:
        Folder names, sorted.
    """
    return [name for name in store.folders() if not name.startswith(".") and name not in _SYSTEM_FOLDERS]


def is_filled(store: Store, folder: str) -> bool:
    """Return whether a folder contains a file or a folder that is not hidden.

    Args:
        store: Data root.
        folder: Folder below the root; it need not exist.
    """
    contents = store.contents(folder, recursive=False)
    return any(not _is_hidden(info.base_name) for info in (*contents.files, *contents.folders))


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
    unnamable, loops, broken = (
        [ascii(name) for name in (path[len(store.root) + 1 :] for path in paths) if not _is_hidden(name[prefix:])]
        for paths in (contents.unnamable, contents.loops, contents.broken)
    )
    sentences = []
    if unnamable:
        sentences.append(
            f"{named(unnamable)}: skipped, because a name must be valid UTF-8 and must not contain the component '..'. "
            "Rename it."
        )
    if broken:
        sentences.append(
            f"{named(broken)} ({len(broken)}): skipped, because the target of the link does not exist. Restore the "
            "files, for example by fetching them with the tool that manages them."
        )
    if loops:
        sentences.append(f"{named(loops)}: link not followed, because it points to a folder that contains it.")
    return sentences


def _is_hidden(name: str) -> bool:
    """Return whether a file or one of its folders is hidden, or is made by a file system or storage server."""
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in name.split("/") if part != "..")


def within(files: Iterable[File], prefix: str) -> list[File]:
    """Return the files whose names begin with a prefix.

    Args:
        files: Files of a data root.
        prefix: Beginning of the names, usually a folder that ends with '/'.

    Returns:
        Matching files in the given order.
    """
    return [(name, info) for name, info in files if name.startswith(prefix)]


def pictures_in(files: Iterable[File], walk: Walk) -> list[File]:
    """Return the files that are images according to their suffix, in upper or lower case.

    Args:
        files: Files of a data root.
        walk: Receives warnings about images in formats that are not supported, and files that may be images.

    Returns:
        Name and file information of each supported image, in the given order.
    """
    pictures, unknown = [], []
    unsupported: dict[str, list[str]] = {}
    for name, info in files:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            pictures.append((name, info))
        elif suffix in IMAGE_SUFFIXES_NOT_READ:
            unsupported.setdefault(suffix, []).append(name)
        elif suffix not in _NO_IMAGES and path.name.lower() not in _NO_IMAGE_NAMES:
            unknown.append(name)
    if unknown:
        walk.warnings.append(
            f"{named(unknown)} ({len(unknown)}): not used, because the name does not end in the suffix of an image. "
            "Rename the files if they are images."
        )
    for suffix, names in unsupported.items():
        converted = "the file" if len(names) == 1 else "the files"
        walk.warnings.append(f"{named(names)}: {suffix} images are not supported. Convert {converted} to PNG.")
    return pictures


def fingerprint_of(image: pafs.FileInfo | None, *masks: pafs.FileInfo | None) -> str | None:
    """Return a text that changes when an image or one of its masks changes.

    Args:
        image: File information of the image; None if it does not exist.
        *masks: File information of each mask; None for a mask that does not exist.

    Returns:
        Sizes in bytes and modification times in nanoseconds of the files; None if the image does not exist.
    """
    if image is None:
        return None
    return "|".join(f"{info.size}-{info.mtime_ns}" for info in (image, *masks) if info is not None)


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
