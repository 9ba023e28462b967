"""`reconpatch-run inspect`: what a dataset holds and what looks wrong in it, before anything is computed."""

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

_NAMED = 5  # places of a finding that are listed; the others are counted


@dataclass
class Findings:
    """What a category holds, and what looks wrong in it.

    Attributes:
        category: its name.
        counts: (split, defect) → readable images.
        fit: good training images that a model would be fitted on.
        holdout: good training images that would be held out for calibration.
        store_unavailable: whether an object store did not return an image or a mask.
        modes: kind of picture → number of images.
        sizes: (width, height) → number of images.
        problems: kind of problem → places.
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
        """Add places with a problem; without places, do nothing.

        Args:
            kind: of problem.
            places: paths, or other descriptions.
        """
        if named := list(places):
            self.problems.setdefault(kind, []).extend(named)


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """The options of `reconpatch-run inspect`.

    Attributes:
        data: path or URI of the dataset.
        categories: to inspect; all by default.
        holdout: share of the good training images that would be held out for calibration.
        bit_depth: significant bits per channel of images with more than 8 bits.
        layout: of the dataset, or 'auto'.
    """

    data: str
    categories: Sequence[str] = ()
    holdout: float = RunConfig.holdout
    bit_depth: int = RunConfig.bit_depth
    layout: str = RunConfig.layout


def inspect(options: InspectOptions, console: Console) -> int:
    """Read every image and mask of a dataset and print what it holds and what looks wrong. Nothing is written.

    Args:
        options: what is inspected.
        console: for progress and findings.

    Returns:
        The exit code: 1 where a category cannot be fitted, because no good training image can be read or an object
        store did not return an image or a mask.

    Raises:
        UsageError: there is no such folder, or no such category in it.
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
            every[-1].note("no calibration images, so no threshold", [few])
        _show(console, every[-1])
    for sentence in listing.warnings:
        console.warn(sentence)
    return 0 if all(findings.fit and not findings.store_unavailable for findings in every) else 1


def _findings(store: Store, category: str, examined: Sequence[Examined], images: Sequence[ImageRecord]) -> Findings:
    findings = Findings(category)
    readable = [result for result in examined if result.error is None]
    findings.counts.update((image.split, str(image.defect)) for image in images)
    findings.fit = sum(image.part == "fit" for image in images)
    findings.holdout = sum(image.part == "holdout" for image in images)
    findings.modes.update(result.mode for result in readable)
    findings.sizes.update((int(image.width or 0), int(image.height or 0)) for image in images)
    _note_unread(examined, findings)
    findings.note(
        "several pictures in one file, of which the first is used",
        (result.image.image_path for result in readable if result.frames > 1),
    )
    deep = [result for result in readable if result.lowest_sixteenth is not None]
    if deep and all(result.lowest_sixteenth for result in deep):
        findings.note(
            "more than 8 bits per channel, all values in the lowest sixteenth: give --bit-depth",
            [f"{len(deep)} pictures"],
        )
    findings.note("the same picture in train and test (leakage)", _copies(images, across=True))
    findings.note("the same picture twice", _copies(images, across=False))
    findings.note(
        "a defect without a mask", (image.image_path for image in images if image.label == 1 and not image.mask_path)
    )
    _note_masks(store, images, findings)
    return findings


def _note_unread(examined: Sequence[Examined], findings: Findings) -> None:
    unread = [result for result in examined if result.error is not None]
    findings.store_unavailable = any(result.store_unavailable for result in unread)
    for kind, store_unavailable in (("cannot be read", False), ("store unavailable", True)):
        results = [result for result in unread if result.store_unavailable == store_unavailable]
        findings.note(kind, [f"{result.image.image_path} ({result.error})" for result in results])


def _copies(images: Sequence[ImageRecord], *, across: bool) -> list[str]:
    """Return groups of pictures with the same contents.

    Args:
        images: readable ones.
        across: whether a group has pictures of several splits, or of one split only.
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
    for image in images:
        if image.mask_path is None:
            continue
        try:
            mask = read_mask(store.read_picture(image.mask_path))
        except (*IMAGE_READ_ERRORS, StoreUnavailableError) as error:
            findings.store_unavailable |= isinstance(error, StoreUnavailableError)
            findings.note("a mask cannot be read", [f"{image.mask_path} ({error_line(error)})"])
            continue
        if not mask.any():
            findings.note("an empty mask of a defect", [image.mask_path])
        if mask.shape != (image.height, image.width):
            findings.note("a mask of another size than its image", [image.mask_path])


def _show(console: Console, findings: Findings) -> None:
    console.say(f"\n{findings.category}")
    for (split, defect), number in sorted(findings.counts.items()):
        parts = f" ({findings.fit} to fit, {findings.holdout} for calibration)" if split == "train" else ""
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
    shown = [f"{name} ({number})" for name, number in counter.most_common(_NAMED)]
    return ", ".join(shown) + (f" and {len(counter) - _NAMED} more" if len(counter) > _NAMED else "")
