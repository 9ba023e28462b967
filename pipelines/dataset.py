"""From folders to an index: which images there are, and what they are.

How they lie in the folders is `pipelines.layouts`' matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.fs as pafs

from pipelines.layouts import AUTO, LIST, MVTEC, find_layout
from pipelines.resources import measured
from pipelines.storage import Store, UnansweredError, side_by_side
from pipelines.usage import UsageError
from pipelines.walk import (
    GOOD,
    UNREADABLE,
    Image,
    Walk,
    composed,
    files_below,
    fingerprint_of,
    oddities,
    pictures_in,
    reason_of,
)
from reconpatch.images import Picture, read_picture
from reconpatch.thresholds import held_out


@dataclass(frozen=True)
class Listing:
    """What a data root holds.

    Attributes:
        images: in order of their paths, category by category.
        warnings: sentences about what is odd.
        layout: how they lie, one of `pipelines.layouts.LAYOUTS`.
    """

    categories: tuple[str, ...]
    images: tuple[Image, ...]
    warnings: tuple[str, ...] = ()
    layout: str = MVTEC


def find_categories(data: Store, asked: Sequence[str] = (), layout: str = AUTO) -> list[str]:
    """The categories of a data root, sorted; those that were asked for, if any were.

    Raises:
        UsageError: the root is no folder, holds no category, or lacks one that was asked for; a list of images that
            says something else than it should.
    """
    return _chosen(data, list(find_layout(data, layout)[1]), asked)


def list_images(data: Store, categories: Sequence[str] = (), layout: str = AUTO) -> Listing:
    """List the categories of a data root; nothing is opened yet but what says which images are defective.

    Raises:
        UsageError: as `find_categories`; none of the images of a list is there.
    """
    name, walks_of = find_layout(data, layout)
    chosen = _chosen(data, list(walks_of), categories)
    walks = side_by_side(lambda category: walks_of[category](), chosen)
    images = tuple(image for walk in walks for image in walk.images)
    warnings = [sentence for walk in walks for sentence in walk.warnings]
    if name == LIST and not images:
        raise UsageError(f"--data {data.below(data.listed).uri}: {warnings[0]}")
    if name != LIST:  # folders with such names are of no category
        warnings = [*oddities(data, data.contents(recursive=False)), *warnings]
    return Listing(tuple(chosen), images, tuple(dict.fromkeys(warnings)), name)


def _chosen(data: Store, found: Sequence[str], asked: Sequence[str]) -> list[str]:
    found = sorted(found)
    by_composed = {composed(category): category for category in found}
    meant = {each: each if each in found else by_composed.get(composed(each)) for each in asked}
    if missing := [each for each, category in meant.items() if category is None]:
        raise UsageError(f"--category {', '.join(missing)}: not in {data.uri}, which has {', '.join(found[:20])}.")
    return [category for category in found if not asked or category in meant.values()]


def find_new(images: Store, folder: str = "") -> tuple[list[pafs.FileInfo], list[str]]:
    """All image files below a folder, to be scored by a model, and sentences about what is odd.

    They are not `Image`s yet, which take five times the memory: a million of them are scored in one call.
    """
    walk = Walk()
    found = [info for _, info in pictures_in(files_below(images, folder, walk), walk)]
    return found, walk.warnings


def new_images(images: Store, category: str, files: Sequence[pafs.FileInfo]) -> list[Image]:
    """Rows of split 'new'; nothing is known of them, but in a category's own test folder what they are filed under."""
    found = []
    for info in files:
        path = images.name_of(info)
        parts = path.removeprefix(f"{category}/test/").split("/") if path.startswith(f"{category}/test/") else []
        defect = parts[0] if len(parts) > 1 else None
        label = None if defect is None else int(defect != GOOD)
        found.append(Image(category, "new", defect, path, label=label, fingerprint=fingerprint_of(info)))
    return found


def as_new(image: Image) -> Image:
    """A labelled test image as one of today's: what its mask is does not matter."""
    picture = None if image.fingerprint is None else image.fingerprint.partition("|")[0]
    return replace(image, split="new", mask_path=None, mask_sha256=None, fingerprint=picture)


def trust(image: Image, known: Mapping[str, Mapping[str, Any]]) -> Image | None:
    """The image completed from an earlier index row of the same fingerprint and mask, or None."""
    row = known.get(image.image_path)
    if (
        row is None
        or image.fingerprint is None
        or row["fingerprint"] != image.fingerprint
        or row["mask_path"] != image.mask_path
    ):
        return None
    names = ("width", "height", "content_sha256", "mask_sha256")
    return replace(image, **{name: row[name] for name in names})


@dataclass(frozen=True)
class Examined:
    """An image that was read: its completed index row, or what is wrong with it.

    Attributes:
        error: why it cannot be read.
        unanswered: whether that is the object store's matter, which did not give it, and says nothing of the image.
        mode: what kind of picture it is, for people.
        frames: how many pictures the file holds.
        lowest_sixteenth: of a picture with more than 8 bits a channel, whether all its values are in the lowest
            sixteenth of the range; None for others.
    """

    image: Image
    error: str | None = None
    unanswered: bool = False
    mode: str = ""
    frames: int = 1
    lowest_sixteenth: bool | None = None


def examine_all(data: Store, images: Sequence[Image], bit_depth: int) -> tuple[list[Examined], int]:
    """Examine several images; also the peak of the process's memory, in bytes.

    Where the store does not give one, the rest of its category is not asked for: each would be waited for as long.
    """
    examined: list[Examined] = []
    silent: dict[str, str | None] = {}
    with measured() as usage:
        for image in images:
            if image.category in silent:
                examined.append(Examined(image, silent[image.category], unanswered=True))
                continue
            examined.append(examine(data, image, bit_depth))
            if examined[-1].unanswered:
                silent[image.category] = examined[-1].error
    return examined, usage.peak_bytes


def examine(data: Store, image: Image, bit_depth: int) -> Examined:
    """Hash an image and its mask, and decode it whole: what is broken is known before anything is fitted."""
    try:
        content = data.read_picture(image.image_path)
        image = replace(image, content_sha256=hashlib.sha256(content).hexdigest())
        if image.mask_path is not None:
            image = replace(image, mask_sha256=hashlib.sha256(data.read_picture(image.mask_path)).hexdigest())
        picture = read_picture(content, bit_depth)
    except (*UNREADABLE, UnansweredError) as error:
        return Examined(image, reason_of(error), unanswered=isinstance(error, UnansweredError))
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
