"""`reconpatch-run inspect`: print the contents and the likely problems of a dataset before a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import list_images
from pipelines.data.examine import Examined
from pipelines.data.layouts import MVTEC
from pipelines.data.records import ImageRecord
from pipelines.data.split import by_category
from pipelines.errors import IMAGE_READ_ERRORS, StoreUnavailableError, error_line
from pipelines.stages.index import ImageIndex, read_in_threads
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from reconpatch.detector.thresholds import FEWEST_CONTENTS
from reconpatch.imaging.images import read_mask

_NAMED = 5  # maximum number of listed places per problem, and of listed modes and sizes; the rest is counted


@dataclass
class Findings:
    """Contents and likely problems of a category.

    Attributes:
        category: Name of the category.
        counts: (split, defect) → number of readable images.
        fit: Number of good training images that a model would be fitted on.
        holdout: Number of calibration images: good training images that would be held out.
        store_unavailable: Whether an object store could not return an image or a mask.
        modes: Pixel format, as Pillow names it (such as 'L' or 'RGB') → number of images.
        sizes: (width, height) in pixels → number of images.
        problems: Kind of problem → the places where it occurs: paths, or other descriptions.
    """

    category: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    fit: int = 0
    holdout: int = 0
    store_unavailable: bool = False
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, places: Iterable[str]) -> None:
        """Add places to a kind of problem; do nothing if there are no places.

        Args:
            kind: Kind of problem, as it is printed.
            places: Paths, or other descriptions of where the problem occurs.
        """
        if named := list(places):
            self.problems.setdefault(kind, []).extend(named)


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """The options of `reconpatch-run inspect`.

    Attributes:
        data: Path or URI of the dataset.
        categories: Categories to inspect; an empty sequence inspects all.
        holdout: Share of the good training images that would be held out for calibration, in [0, 1).
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        layout: Directory layout of the dataset, or 'auto' to detect it.
    """

    data: str
    categories: Sequence[str] = ()
    holdout: float = RunConfig.holdout
    bit_depth: int = RunConfig.bit_depth
    layout: str = RunConfig.layout


def inspect(options: InspectOptions, console: Console) -> int:
    """Read every image and mask of a dataset, and print its contents and likely problems. No file is written.

    Args:
        options: The dataset and how it would be read.
        console: Console for progress and findings.

    Returns:
        The exit code: 0, or 1 if a category has no readable good training image or an object store could not return
        an image or a mask.

    Raises:
        UsageError: The folder or one of the categories does not exist.
    """
    store = Store.of_data(options.data)
    listing = list_images(store, options.categories, options.layout)
    with console.progress("inspect", len(listing.images), "images") as bar:
        read = read_in_threads(store, options.bit_depth, bar.advance)
        index = ImageIndex.build(options, listing, {}, read=read)
    images = by_category(index.images)
    examined: dict[str, list[Examined]] = {category: [] for category in listing.categories}
    for result in index.examined:
        examined[result.image.category].append(result)
    if listing.layout != MVTEC:
        console.say(f"layout   {listing.layout}")
    every: list[Findings] = []
    for category, results in examined.items():
        every.append(_findings(store, category, results, images.get(category, [])))
        if every[-1].fit and options.holdout and not every[-1].holdout:
            few = f"fewer than {FEWEST_CONTENTS} different good images"
            every[-1].note("no calibration images, therefore no threshold", [few])
        _show(console, every[-1])
    for sentence in listing.warnings:
        console.warn(sentence)
    return 0 if all(findings.fit and not findings.store_unavailable for findings in every) else 1


def _findings(store: Store, category: str, examined: Sequence[Examined], images: Sequence[ImageRecord]) -> Findings:
    """Return the findings of a category."""
    findings = Findings(category)
    readable = [result for result in examined if result.error is None]
    findings.counts.update((image.split, str(image.defect)) for image in images)
    findings.fit = sum(image.part == "fit" for image in images)
    findings.holdout = sum(image.part == "holdout" for image in images)
    findings.modes.update(result.mode for result in readable)
    findings.sizes.update((int(image.width or 0), int(image.height or 0)) for image in images)
    _note_unread(examined, findings)
    findings.note(
        "several images in one file, of which only the first is used",
        (result.image.image_path for result in readable if result.frames > 1),
    )
    deep = [result for result in readable if result.lowest_sixteenth is not None]
    if deep and all(result.lowest_sixteenth for result in deep):
        findings.note(
            "more than 8 bits per channel, but all values in the lowest sixteenth of the range; set --bit-depth",
            [f"{len(deep)} images"],
        )
    findings.note("identical images in train and test (leakage)", _copies(images, across=True))
    findings.note("identical images in one split", _copies(images, across=False))
    defective = [image for image in images if image.label == 1]
    maskless = [image.image_path for image in defective if not image.mask_path]
    if maskless and len(maskless) == len(defective):  # a dataset without masks is common, and not an oversight
        findings.note("no masks, so pixel metrics will be empty", [f"{len(defective)} defective images"])
    else:
        findings.note("defective image without a mask", maskless)
    _note_masks(store, images, findings)
    return findings


def _note_unread(examined: Sequence[Examined], findings: Findings) -> None:
    """Add the images that cannot be read and those that an object store could not return."""
    unread = [result for result in examined if result.error is not None]
    findings.store_unavailable = any(result.store_unavailable for result in unread)
    for kind, store_unavailable in (("image cannot be read", False), ("store unavailable", True)):
        results = [result for result in unread if result.store_unavailable == store_unavailable]
        findings.note(kind, [f"{result.image.image_path} ({result.error})" for result in results])


def _copies(images: Sequence[ImageRecord], *, across: bool) -> list[str]:
    """Return one line for each group of images with identical contents.

    Args:
        images: Readable images.
        across: Whether to return the groups across several splits, or those within one split.
    """
    same: dict[str | None, list[ImageRecord]] = {}
    for image in images:
        same.setdefault(image.content_sha256, []).append(image)
    return [
        " = ".join(image.image_path for image in group)
        for group in same.values()
        if len(group) > 1 and (len({image.split for image in group}) > 1) == across
    ]


def _note_masks(store: Store, images: Sequence[ImageRecord], findings: Findings) -> None:
    """Add the masks that cannot be read, are empty, or differ in size from their image."""
    for image in images:
        if image.mask_path is None:
            continue
        try:
            mask = read_mask(store.read_picture(image.mask_path))
        except (*IMAGE_READ_ERRORS, StoreUnavailableError) as error:
            findings.store_unavailable |= isinstance(error, StoreUnavailableError)
            findings.note("mask cannot be read", [f"{image.mask_path} ({error_line(error)})"])
            continue
        if not mask.any():
            findings.note("empty mask of a defective image", [image.mask_path])
        if mask.shape != (image.height, image.width):
            findings.note("mask whose size differs from its image", [image.mask_path])


def _show(console: Console, findings: Findings) -> None:
    """Print the findings of a category."""
    console.say(f"\n{findings.category}")
    for (split, defect), number in sorted(findings.counts.items()):
        parts = f" ({findings.fit} for fitting, {findings.holdout} for calibration)" if split == "train" else ""
        console.say(f"  {split}/{defect}: {number}{parts}")
    if not findings.fit:
        console.say("  cannot be fitted: no good training image can be read")
    console.say(f"  modes: {_counted(findings.modes)}")
    sizes = Counter({f"{width} x {height}": number for (width, height), number in findings.sizes.items()})
    console.say(f"  sizes: {_counted(sizes)}")
    for kind, places in findings.problems.items():
        console.say(f"  ! {kind}: {len(places)}")
        for place in places[:_NAMED]:
            console.say(f"      {place}")


def _counted(counter: Counter[str]) -> str:
    """Return the most common names with their counts."""
    shown = [f"{name} ({number})" for name, number in counter.most_common(_NAMED)]
    return ", ".join(shown) + (f" and {len(counter) - _NAMED} more" if len(counter) > _NAMED else "")
