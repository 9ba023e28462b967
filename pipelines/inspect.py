"""What a folder of images holds and what is odd about it, before an hour is spent. Nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count

from pipelines.config import RunConfig
from pipelines.dataset import Examined, assign_parts, examine, list_images
from pipelines.layouts import MVTEC
from pipelines.progress import Screen
from pipelines.storage import Store, UnansweredError
from pipelines.walk import UNREADABLE, Image, reason_of
from reconpatch.images import read_mask
from reconpatch.thresholds import FEWEST_CONTENTS

_NAMED = 5  # of a kind of oddity, so many are named and the others counted


@dataclass
class Findings:
    """What was found in one category.

    Attributes:
        counts: (split, defect) → readable images.
        fit, holdout: how the good training images would be split.
        withheld: whether an object store did not give an image.
        modes, sizes: what the pictures are → how many.
        odd: kind of oddity → where.
    """

    category: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    fit: int = 0
    holdout: int = 0
    withheld: bool = False
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    odd: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, where: Iterable[str]) -> None:
        """Add places of a kind of oddity; nothing where there are none."""
        if places := list(where):
            self.odd.setdefault(kind, []).extend(places)


def inspect(
    screen: Screen,
    data: str,
    categories: Sequence[str] = (),
    holdout: float = RunConfig.holdout,
    bit_depth: int = RunConfig.bit_depth,
    layout: str = RunConfig.layout,
) -> int:
    """Read every image and mask of a data root and say what is there.

    Returns:
        0, or 1 where a category cannot be learned: none of its good training images can be read, or an object store did
        not give one of its images.

    Raises:
        UsageError: no such folder, no category.
    """
    store = Store.of_data(data)
    listing = list_images(store, categories, layout)
    with ThreadPoolExecutor(cpu_count()) as pool, screen.stage("inspect", len(listing.images), "images") as stage:
        examined: dict[str, list[Examined]] = {category: [] for category in listing.categories}
        for each in pool.map(lambda image: examine(store, image, bit_depth), listing.images):
            examined[each.image.category].append(each)
            stage.advance()
    if listing.layout != MVTEC:
        screen.say(f"layout   {listing.layout}")
    found = []
    for category, mine in examined.items():
        found.append(_findings(store, category, mine, holdout))
        _show(screen, found[-1])
    for sentence in listing.warnings:
        screen.warn(sentence)
    return 0 if all(each.fit and not each.withheld for each in found) else 1


def _findings(store: Store, category: str, examined: Sequence[Examined], holdout: float) -> Findings:
    findings = Findings(category)
    readable = [each for each in examined if each.error is None]
    images = assign_parts([each.image for each in readable], holdout)
    findings.counts.update((image.split, str(image.defect)) for image in images)
    findings.fit = sum(image.part == "fit" for image in images)
    findings.holdout = sum(image.part == "holdout" for image in images)
    findings.modes.update(each.mode for each in readable)
    findings.sizes.update((int(image.width or 0), int(image.height or 0)) for image in images)
    unread = [each for each in examined if each.error is not None]
    findings.withheld = any(each.unanswered for each in unread)
    for kind, withheld in (("cannot be read", False), ("not given", True)):
        told = [f"{each.image.image_path} ({each.error})" for each in unread if each.unanswered == withheld]
        findings.note(kind, told)
    findings.note(
        "of several pictures, the first is used", (each.image.image_path for each in readable if each.frames > 1)
    )
    deep = [each for each in readable if each.lowest_sixteenth is not None]
    if deep and all(each.lowest_sixteenth for each in deep):
        findings.note(
            "more than 8 bits a channel, all values in the lowest sixteenth: give --bit-depth",
            [f"{len(deep)} pictures"],
        )
    findings.note("the same picture in train and test (leakage)", _copies(images, across=True))
    findings.note("the same picture twice", _copies(images, across=False))
    findings.note(
        "a defect without a mask", (image.image_path for image in images if image.label == 1 and not image.mask_path)
    )
    _masks(store, images, findings)
    if findings.fit and holdout and not findings.holdout:
        few = f"fewer than {FEWEST_CONTENTS} good images differ"
        findings.note("no image is held out, no threshold can be promised", [few])
    return findings


def _copies(images: Sequence[Image], *, across: bool) -> list[str]:
    """Pictures of the same content: in different splits, or within one."""
    same: dict[str | None, list[Image]] = {}
    for image in images:
        same.setdefault(image.content_sha256, []).append(image)
    return [
        " = ".join(image.image_path for image in group)
        for group in same.values()
        if len(group) > 1 and (len({image.split for image in group}) > 1) == across
    ]


def _masks(store: Store, images: Sequence[Image], findings: Findings) -> None:
    for image in images:
        if image.mask_path is None:
            continue
        try:
            mask = read_mask(store.read_picture(image.mask_path))
        except (*UNREADABLE, UnansweredError) as error:
            findings.withheld |= isinstance(error, UnansweredError)
            findings.note("a mask cannot be read", [f"{image.mask_path} ({reason_of(error)})"])
            continue
        if not mask.any():
            findings.note("an empty mask of a defect", [image.mask_path])
        if mask.shape != (image.height, image.width):
            findings.note("a mask of another size than its image", [image.mask_path])


def _show(screen: Screen, findings: Findings) -> None:
    screen.say(f"\n{findings.category}")
    for (split, defect), number in sorted(findings.counts.items()):
        parts = f" ({findings.fit} to fit, {findings.holdout} held out)" if split == "train" else ""
        screen.say(f"  {split}/{defect}: {number}{parts}")
    if not findings.fit:
        screen.say("  nothing to learn from: no good image of train can be read")
    screen.say(f"  modes: {_counted(findings.modes)}")
    sizes = Counter({f"{width} x {height}": number for (width, height), number in findings.sizes.items()})
    screen.say(f"  sizes: {_counted(sizes)}")
    for kind, places in findings.odd.items():
        screen.say(f"  ! {kind}: {len(places)}")
        for place in places[:_NAMED]:
            screen.say(f"      {place}")


def _counted(counter: Counter[str]) -> str:
    shown = [f"{name} ({number})" for name, number in counter.most_common(_NAMED)]
    return ", ".join(shown) + (f" and {len(counter) - _NAMED} more" if len(counter) > _NAMED else "")
