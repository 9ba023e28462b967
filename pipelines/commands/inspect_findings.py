"""What `inspect` finds in a category: counts, formats, and likely problems of images and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.data.examine import Examined
from pipelines.data.image_checks import copies, suggested_bits
from pipelines.data.masks import read_mask_of
from pipelines.data.records import ImageRecord
from pipelines.errors import IMAGE_READ_ERRORS, StoreUnavailableError, error_line
from pipelines.storage.store import Store
from reconpatch.imaging.mask_rule import Mask

_UNLABELED = "no label"
_MOST = 0.8  # share of images with the same size or format from which the others are named
_FEWEST = 5  # images from which a different size or format is named


@dataclass
class Findings:
    """Contents and likely problems of a category.

    Attributes:
        category: Name of the category.
        counts: (split, defect, or 'no label') → number of readable images.
        fit: Number of good training images that a model would be fitted on.
        holdout: Number of calibration images: good training images that would be held out, and validation images.
        store_unavailable: Whether an object store could not return an image or a mask.
        formats: Pixel format, as Pillow names it (such as 'L' or 'RGB'), and number of channels → number of images.
        sizes: (width, height) in pixels → number of images.
        mask_values: Values of a mask, as text → number of masks.
        problems: Kind of problem → the places where it occurs: paths, or other descriptions.
    """

    category: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    fit: int = 0
    holdout: int = 0
    store_unavailable: bool = False
    formats: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    mask_values: Counter[str] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, places: Iterable[str]) -> None:
        """Add places to a kind of problem; do nothing if there are no places.

        Args:
            kind: Kind of problem, as it is printed.
            places: Paths, or other descriptions of where the problem occurs.
        """
        if named := list(places):
            self.problems.setdefault(kind, []).extend(named)


def findings_of(
    store: Store, category: str, examined: Sequence[Examined], images: Sequence[ImageRecord], *, bit_depth: int
) -> Findings:
    """Return the findings of a category. All of its masks are read.

    Args:
        store: Data root.
        category: Name of the category.
        examined: Results of the examination of its images.
        images: The readable images, parts assigned.
        bit_depth: Significant bits per channel that the images were read with (9-16).

    Returns:
        Counts and likely problems.
    """
    findings = Findings(category)
    findings.counts.update((image.split, image.defect or _UNLABELED) for image in images)
    findings.fit = sum(image.part == "fit" for image in images)
    findings.holdout = sum(image.part == "holdout" for image in images)
    _note_unread(examined, findings)
    _note_images([result for result in examined if result.error is None], findings, bit_depth)
    for kind, across in (
        ("identical images in train and test (leakage)", True),
        ("identical images on one side", False),
    ):
        groups = copies(images, across=across)
        findings.note(kind, (" = ".join(image.image_path for image in group) for group in groups))
    defective = [image for image in images if image.label == 1]
    maskless = [image.image_path for image in defective if not image.mask_path]
    if maskless and len(maskless) == len(defective):  # a dataset without masks is common, and not an oversight
        findings.note("no masks, so pixel metrics will be empty", [f"{len(defective)} defective images"])
    else:
        findings.note("defective image without a mask", maskless)
    for image in images:
        if image.mask_path is not None:
            _note_mask(store, image, findings)
    return findings


def _note_unread(examined: Sequence[Examined], findings: Findings) -> None:
    """Add the images that cannot be read and those that an object store could not return."""
    unread = [result for result in examined if result.error is not None]
    findings.store_unavailable = any(result.store_unavailable for result in unread)
    for kind, store_unavailable in (("image cannot be read", False), ("store unavailable", True)):
        results = [result for result in unread if result.store_unavailable == store_unavailable]
        findings.note(kind, [f"{result.image.image_path} ({result.error})" for result in results])


def _note_images(readable: Sequence[Examined], findings: Findings, bit_depth: int) -> None:
    """Add formats and sizes, and the images that are unlike the others or have nothing in them."""
    paths = [result.image.image_path for result in readable]
    formats = [f"{result.mode}, {_plural(result.channels, 'channel')}" for result in readable]
    sizes = [f"{result.image.width} x {result.image.height}" for result in readable]
    findings.formats.update(formats)
    findings.sizes.update(sizes)
    for what, values in (("format", formats), ("size", sizes)):
        if usual := _usual(values):
            others = [f"{path} ({value})" for path, value in zip(paths, values, strict=True) if value != usual]
            findings.note(f"image whose {what} differs from the rest ({usual})", others)
    for kind, names in (
        (
            "several images in one file, of which only the first is used",
            [result.image.image_path for result in readable if result.frames > 1],
        ),
        ("image of one single color", [result.image.image_path for result in readable if result.is_single_color]),
        (
            "opacity of 0 everywhere, which is ignored",
            [result.image.image_path for result in readable if result.is_opacity_ignored],
        ),
    ):
        findings.note(kind, names)
    if bits := suggested_bits(readable, bit_depth):
        deep = sum(result.needed_bits is not None for result in readable)
        findings.note(
            f"all values below {2**bits}, so the images are dark; for a camera of {bits} bits, set --bit-depth {bits}",
            [_plural(deep, "image")],
        )


def _note_mask(store: Store, image: ImageRecord, findings: Findings) -> None:
    """Add the values of the mask of an image, and what is likely to be wrong with it."""
    place = str(image.mask_path)
    try:
        mask = read_mask_of(store, image)
    except (*IMAGE_READ_ERRORS, StoreUnavailableError) as error:
        findings.store_unavailable |= isinstance(error, StoreUnavailableError)
        findings.note("mask cannot be used", [f"{place} ({error_line(error)})"])
        return
    defective = mask.defective
    values = _text(mask)
    findings.mask_values[values] += 1
    if not defective.any():
        findings.note("empty mask of a defective image", [place])
    elif defective.mean() > 0.5:
        findings.note("mask that covers more than half of its image; is it black on white?", [place])
    if len(mask.values) > 2:
        findings.note("mask with several values; all of them but the background count", [f"{place} ({values})"])
    if mask.ignored.any():
        findings.note("mask with a value that is ignored, so its pixels are left out of pixel metrics", [place])
    if defective.shape != (image.height, image.width):
        findings.note("mask whose size differs from its image", [place])


def _text(mask: Mask) -> str:
    """Return the values of a mask as text."""
    return "/".join(f"{value:g}" for value in mask.values) if mask.values else "more than 16 values"


def _usual(values: Sequence[str]) -> str | None:
    """Return the value that most of the images have; None if no value is that common, or if there are few images."""
    if len(values) < _FEWEST:
        return None
    ((value, number),) = Counter(values).most_common(1)
    return value if number >= _MOST * len(values) else None


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
