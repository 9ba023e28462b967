"""From folders to an index: which images there are, what they are, and how they are cut into chunks.

MVTec AD's layout: `<category>/train/good`, `test/<defect>`, `ground_truth/<defect>/<stem>_mask.png`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.config import UsageError
from reconpatch.images import SUFFIXES, ImageError, image_size

# Pictures that people have in such folders and that are not read: named, where other foreign files are passed over.
_OTHER_IMAGES = frozenset({".gif", ".jp2", ".heic", ".heif", ".avif", ".exr", ".pgm", ".ppm", ".dng", ".raw", ".svg"})


@dataclass(frozen=True)
class Image:
    """One row of index.parquet; paths are relative to the data root and '/'-separated."""

    category: str
    split: str
    defect: str
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


@dataclass(frozen=True)
class Chunk:
    """At most `--chunk` images of one category for one backbone: a row of the extraction's stream."""

    category: str
    backbone: str
    split: str
    number: int
    paths: tuple[str, ...]


@dataclass
class _Walk:
    images: list[Image] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def list_images(data: str | Path, categories: Sequence[str] = ()) -> Listing:
    """List the categories below a data root; nothing is opened yet.

    Raises:
        UsageError: the root is no folder, holds no category, or lacks one that was asked for.
    """
    root = Path(data)
    if not root.is_dir():
        raise UsageError(f"--data {data}: there is no such folder.")
    found = [
        entry.name
        for entry in sorted(root.iterdir(), key=lambda entry: entry.name)
        if entry.is_dir()
        and not entry.name.startswith(".")
        and ((entry / "train").is_dir() or (entry / "test").is_dir())
    ]
    if not found:
        raise UsageError(
            f"--data {data}: no category in it; a category is a folder with good images in <category>/train/good."
        )
    missing = [category for category in categories if category not in found]
    if missing:
        raise UsageError(f"--category {', '.join(missing)}: not in {data}, which has {', '.join(found[:20])}.")
    chosen = tuple(category for category in found if not categories or category in categories)
    walk = _Walk()
    for category in chosen:
        _walk_category(root, category, walk)
    return Listing(chosen, tuple(walk.images), tuple(walk.warnings))


def _walk_category(root: Path, category: str, walk: _Walk) -> None:
    base = root / category
    for path in _image_files(base / "train" / "good", root, walk):
        walk.images.append(Image(category, "train", "good", path, label=0, part="fit"))
    test = base / "test"
    for folder in sorted(test.iterdir()) if test.is_dir() else []:
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        masks = _MaskFolder(base / "ground_truth" / folder.name, root) if folder.name != "good" else None
        for path in _image_files(folder, root, walk):
            within = Path(path).relative_to(folder.relative_to(root))
            mask = masks.find(within) if masks else None
            walk.images.append(
                Image(category, "test", folder.name, path, mask, label=0 if folder.name == "good" else 1)
            )
        if masks:
            walk.warnings += _unused(masks.unused(), folder.relative_to(root).as_posix())


def _unused(masks: Sequence[str], folder: str) -> list[str]:
    if not masks:
        return []
    named = ", ".join(masks[:5]) + (f" and {len(masks) - 5} more" if len(masks) > 5 else "")
    return [f"{named}: no image of that stem in {folder}; such a mask is not used."]


def _image_files(folder: Path, root: Path, walk: _Walk) -> Iterator[str]:
    """Paths of the readable kinds of image below a folder, at any depth, sorted; hidden and foreign files are not."""
    for path in _files(folder):
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            yield path.relative_to(root).as_posix()
        elif suffix in _OTHER_IMAGES:
            walk.warnings.append(
                f"{path.relative_to(root).as_posix()}: {suffix} images are not read; convert it to PNG."
            )


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for current, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(current) / name for name in names if not name.startswith(".")]
    return sorted(found)


class _MaskFolder:
    """The masks of one defect, paired by stem: `<stem>_mask` before `<stem>`, in the image's own subfolder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._paths = {
            path.relative_to(folder).with_suffix("").as_posix(): path.relative_to(root).as_posix()
            for path in _files(folder)
            if path.suffix.lower() in SUFFIXES
        }
        self._used: set[str] = set()

    def find(self, image: Path) -> str | None:
        stem = image.with_suffix("").as_posix()
        for name in (f"{stem}_mask", stem):
            if name in self._paths:
                self._used.add(name)
                return self._paths[name]
        return None

    def unused(self) -> list[str]:
        return [path for name, path in self._paths.items() if name not in self._used]


def examine(data: str | Path, image: Image) -> tuple[Image, str | None]:
    """Hash an image and its mask and read its size.

    Returns:
        The completed index row, and a sentence that says what is wrong where the image cannot be read.
    """
    root = Path(data)
    try:
        content = (root / image.image_path).read_bytes()
        status = (root / image.image_path).stat()
        image = replace(
            image,
            content_sha256=hashlib.sha256(content).hexdigest(),
            fingerprint=f"{status.st_size}-{status.st_mtime_ns}",
        )
        if image.mask_path is not None:
            mask = (root / image.mask_path).read_bytes()
            image = replace(image, mask_sha256=hashlib.sha256(mask).hexdigest())
        height, width = image_size(content)
        return replace(image, width=width, height=height), None
    except (ImageError, OSError) as error:
        return image, str(error)


def cut_chunks(images: Sequence[Image], backbone: str, size: int) -> list[Chunk]:
    """Chunks of at most `size` images of one category, fit and test images apart, in order of their paths.

    Train and test images never share a chunk: a model does not depend on which test images there are.
    """
    chunks: list[Chunk] = []
    for category in dict.fromkeys(image.category for image in images):
        number = 0
        for split in ("train", "test"):
            paths = [image.image_path for image in images if image.category == category and image.split == split]
            for start in range(0, len(paths), size):
                chunks.append(Chunk(category, backbone, split, number, tuple(paths[start : start + size])))
                number += 1
    return chunks
