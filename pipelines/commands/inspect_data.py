"""`reconpatch-run inspect`: print the contents and the likely problems of a dataset before a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.commands.inspect_findings import Findings, findings_of
from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import list_images
from pipelines.data.examine import Examined
from pipelines.data.layouts.detect import MVTEC
from pipelines.data.records import GOOD, TRAIN, VALIDATION
from pipelines.data.split import by_category
from pipelines.stages.index import ImageIndex, read_in_threads
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from reconpatch.detector.thresholds import FEWEST_CONTENTS

_NAMED = 5  # maximum number of listed places per problem, and of listed modes and sizes; the rest is counted


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """The options of `reconpatch-run inspect`.

    Attributes:
        data: Path or URI of the dataset.
        categories: Categories to inspect; an empty sequence inspects all.
        holdout: Share of the good training images that would be held out for calibration, in [0, 1).
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        layout: Directory layout of the dataset, or 'auto' to detect it.
        columns: Names of the columns of an image list that differ; None if none differs.
    """

    data: str
    categories: Sequence[str] = ()
    holdout: float = RunConfig.holdout
    bit_depth: int = RunConfig.bit_depth
    layout: str = RunConfig.layout
    columns: str | None = None


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
    listing = list_images(store, options.categories, options.layout, options.columns)
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
        every.append(findings_of(store, category, results, images.get(category, []), bit_depth=options.bit_depth))
        if every[-1].fit and options.holdout and not every[-1].holdout:
            few = f"fewer than {FEWEST_CONTENTS} different good images"
            every[-1].note("no calibration images, therefore no threshold", [few])
        _show(console, every[-1])
    for sentence in listing.warnings:
        console.warn(sentence)
    return 0 if all(findings.fit and not findings.store_unavailable for findings in every) else 1


def _show(console: Console, findings: Findings) -> None:
    """Print the findings of a category."""
    console.say(f"\n{findings.category}")
    parts = {TRAIN: f" ({findings.fit} for fitting, {findings.holdout} for calibration)"}
    if any(split == VALIDATION for split, _ in findings.counts):
        held_out = findings.holdout - findings.counts[VALIDATION, GOOD]
        parts = {
            TRAIN: f" ({findings.fit} for fitting, {held_out} for calibration)",
            VALIDATION: " (for calibration)",
        }
    for (split, defect), number in sorted(findings.counts.items()):
        console.say(f"  {split}/{defect}: {number}{parts.get(split, '')}")
    if not findings.fit:
        console.say("  cannot be fitted: no good training image can be read")
    for name, counter in (
        ("formats", findings.formats),
        ("sizes", findings.sizes),
        ("mask values", findings.mask_values),
    ):
        if counter:
            console.say(f"  {name}: {_counted(counter)}")
    for kind, places in findings.problems.items():
        console.say(f"  ! {kind}: {len(places)}")
        for place in places[:_NAMED]:
            console.say(f"      {place}")


def _counted(counter: Counter[str]) -> str:
    """Return the most common names with their counts."""
    shown = [f"{name} ({number})" for name, number in counter.most_common(_NAMED)]
    return ", ".join(shown) + (f" and {len(counter) - _NAMED} more" if len(counter) > _NAMED else "")
