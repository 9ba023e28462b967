"""The image index of a call: list, look up what is known, hash and decode the rest, split, write, find what is usable.

`ImageIndex.build` is the one place of this, for runs, nightly runs, `--dry-run` and `inspect`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import Listing
from pipelines.data.examine import Examined, examine, examine_all, trust
from pipelines.data.layouts import MVTEC
from pipelines.data.records import INDEX, ImageRecord
from pipelines.data.split import assign_parts
from pipelines.errors import error_line
from pipelines.planning.stage import JobFailure
from pipelines.runtime.tasks import run_tasks
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows, rows_if_there, write_rows
from pipelines.storage.paths import INDEX_FILE, folder_name
from pipelines.storage.redaction import redact
from pipelines.storage.store import Store
from pipelines.tracking.run_record import IndexOrigin, read_index_origin
from reconpatch.detector.thresholds import FEWEST_CONTENTS

_LONGEST_FOLDER = 240  # bytes: with endings like .parquet a file's name has 255 at most
_EXAMINED_AT_ONCE = 64  # images a hashing task reads: long enough to be worth a task, short enough for a moving bar
# Hashes and decodes images, in any order.
Reader = Callable[[Sequence[ImageRecord]], Iterable[Examined]]
KnownRows = Mapping[str, Mapping[str, Any]]  # image_path -> its row of an earlier index


class IndexSettings(Protocol):
    """What an index depends on, beside the images; a `RunConfig` has it.

    Attributes:
        bit_depth: significant bits per channel of images with more than 8.
        holdout: share of the good training images that is held out.
    """

    @property
    def bit_depth(self) -> int: ...

    @property
    def holdout(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class CompletedImages:
    """Images that have been hashed and decoded, or were known.

    Attributes:
        images: those that can be read, in the order in which they were listed.
        examined: what reading the others has found, readable or not.
        failures: images that cannot be read, and categories of which an object store did not return an image.
        warnings: sentences for the user.
    """

    images: tuple[ImageRecord, ...]
    examined: tuple[Examined, ...] = ()
    failures: tuple[JobFailure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """The images of a call.

    Attributes:
        images: all that can be read, parts assigned.
        usable: of these, the images of categories that a model can be fitted to.
        examined: what reading has found, of images that were not known.
        failures: what cannot be read or fitted.
        warnings: sentences for the user.
    """

    images: tuple[ImageRecord, ...]
    usable: tuple[ImageRecord, ...]
    examined: tuple[Examined, ...]
    failures: tuple[JobFailure, ...]
    warnings: tuple[str, ...]

    @classmethod
    def build(cls, settings: IndexSettings, listing: Listing, known: KnownRows, *, read: Reader) -> ImageIndex:
        """Complete what was listed, split it into fit and hold-out, and find the categories that can be fitted.

        Args:
            settings: a run's configuration, or that of a command that only looks.
            listing: what the data root holds.
            known: rows of an earlier index, trusted where a file's fingerprint has not changed.
            read: hashes and decodes the other images.
        """
        completed = complete_images(listing.images, known, read=read, bit_depth=settings.bit_depth)
        images = assign_parts(completed.images, settings.holdout)
        failed = {failure.category for failure in completed.failures if failure.image_path is None}
        failures, warnings = _unusable(listing, images, failed, settings)
        failed |= {failure.category for failure in failures}
        return cls(
            images=tuple(images),
            usable=tuple(image for image in images if image.category not in failed),
            examined=completed.examined,
            failures=(*completed.failures, *failures),
            warnings=(*completed.warnings, *warnings),
        )

    @property
    def unavailable(self) -> list[str]:
        """Categories of which an object store did not return an image."""
        return [failure.category for failure in self.failures if failure.store_unavailable and not failure.image_path]

    def write(self, out: Store, images: Iterable[ImageRecord], *, untouched: Collection[str] = ()) -> None:
        """Write index.parquet.

        Args:
            out: the folder.
            images: that get a row.
            untouched: categories whose rows of the index that is there stay, besides those that an object store did not
                return; where the latter have none, they get rows of what could be read.
        """
        kept = {*untouched, *self.unavailable}
        earlier = [row for row in rows_if_there(out, INDEX_FILE) if row["category"] in kept] if kept else []
        new = set(self.unavailable) - {row["category"] for row in earlier}
        rows = [image.row() for image in images if image.category not in kept]
        rows += [*earlier, *(image.row() for image in self.images if image.category in new)]
        write_rows(out, INDEX_FILE, rows, INDEX)


def with_listing(config: RunConfig, data: Store, listing: Listing) -> RunConfig:
    """Return the configuration with the layout that was found, and paths that hold in any working directory.

    Ray's workers have working directories of their own, and `evaluate` may be called from another.

    Args:
        config: as it was given.
        data: the data root.
        listing: what it holds.
    """
    where = data.path(data.listed) if data.is_local else config.data
    return replace(config, data=where, layout=listing.layout, weights=absolute_path(config.weights))


def absolute_path(weights: str | None) -> str | None:
    """Return the absolute path of the folder of `--weights`."""
    return None if weights is None else str(Path(weights).resolve())


def known_images(out: Store, config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return image_path -> row of the index that an earlier run left; none where its files are damaged.

    Args:
        out: the run directory.
        config: of this run: rows of other data, or of another bit depth, are not taken.
    """
    if config.rehash or not out.exists(INDEX_FILE):
        return {}
    try:
        if read_index_origin(out) != IndexOrigin(redact(config.data), config.bit_depth):
            return {}
        return {row["image_path"]: row for row in read_rows(out, INDEX_FILE)}
    except (OSError, ValueError):
        return {}


def complete_images(
    listed: Sequence[ImageRecord], known: KnownRows, *, read: Reader, bit_depth: int
) -> CompletedImages:
    """Hash and decode every image that is not known.

    A category of which the object store did not return an image has failed: it is not learned from the others. New
    images that are not returned are left out by name.

    Args:
        listed: the images.
        known: rows of an earlier index.
        read: hashes and decodes.
        bit_depth: that images are read with, for the warnings.
    """
    trusted = {image.image_path: trust(image, known) for image in listed}
    images = {path: image for path, image in trusted.items() if image is not None}
    unknown = [image for image in listed if image.image_path not in images]
    examined = tuple(read(unknown)) if unknown else ()
    failures: dict[tuple[str, str | None], JobFailure] = {}
    for failure in filter(None, map(_failure, examined)):
        failures.setdefault((failure.category, failure.image_path), failure)
    images |= {result.image.image_path: result.image for result in examined if result.error is None}
    return CompletedImages(
        images=tuple(images[image.image_path] for image in listed if image.image_path in images),
        examined=examined,
        failures=tuple(failures.values()),
        warnings=tuple(_oddities(examined, bit_depth)),
    )


def _failure(examined: Examined) -> JobFailure | None:
    if examined.error is None:
        return None
    image = examined.image
    if examined.store_unavailable and image.split != "new":
        error = f"{image.image_path}: {examined.error}"
        return JobFailure(category=image.category, error=error, store_unavailable=True)
    return JobFailure(
        category=image.category,
        image_path=image.image_path,
        error=examined.error,
        store_unavailable=examined.store_unavailable,
    )


def _oddities(examined: Sequence[Examined], bit_depth: int) -> Iterator[str]:
    readable = [result for result in examined if result.error is None]
    for result in readable:
        if result.frames > 1:
            yield f"{result.image.image_path}: holds {result.frames} pictures; the first is used."
    dim: dict[str, bool] = {}
    for result in readable:
        if result.lowest_sixteenth is not None:
            category = result.image.category
            dim[category] = dim.get(category, True) and result.lowest_sixteenth
    for category in (category for category, is_dim in dim.items() if is_dim):
        yield (
            f"{category}: its pictures have more than 8 bits a channel and stay in the lowest sixteenth of {bit_depth} "
            f"bits; give the camera's own with --bit-depth (12, say)."
        )


def _unusable(
    listing: Listing, images: Sequence[ImageRecord], failed: Collection[str], settings: IndexSettings
) -> tuple[list[JobFailure], list[str]]:
    """The categories that have not failed yet and cannot be fitted, and sentences about those without hold-out."""
    fitted = {image.category for image in images if image.part == "fit"}
    held_out = {image.category for image in images if image.part == "holdout"}
    failures, warnings = [], []
    for category in listing.categories:
        if category in failed:
            continue
        if len(folder_name(category)) > _LONGEST_FOLDER:
            error = "its name is too long for a folder's; give it a shorter one."
            failures.append(JobFailure(category=category, error=error))
        elif category not in fitted:
            where = f"{category}/train/good" if listing.layout == MVTEC else "train"
            failures.append(JobFailure(category=category, error=f"{where} has no image that can be read."))
        elif settings.holdout and category not in held_out:
            warnings.append(
                f"{category}: fewer than {FEWEST_CONTENTS} good images differ; none is held out and there is no "
                f"threshold."
            )
    return failures, warnings


def read_in_threads(data: Store, bit_depth: int, on_image: Callable[[], None]) -> Reader:
    """Return a reader that works in this process, without Ray.

    Args:
        data: the root of the images.
        bit_depth: that they are read with.
        on_image: called after each image.
    """

    def read(images: Sequence[ImageRecord]) -> Iterator[Examined]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for examined in pool.map(lambda image: examine(data, image, bit_depth), images):
                on_image()
                yield examined

    return read


def read_in_tasks(runner: Runner) -> Reader:
    """Return a reader that works in Ray tasks; the rest of a category that is unavailable is not asked for."""
    context = runner.context

    def read(images: Sequence[ImageRecord]) -> Iterator[Examined]:
        batches = [images[start : start + _EXAMINED_AT_ONCE] for start in range(0, len(images), _EXAMINED_AT_ONCE)]
        unavailable: set[str] = set()

        def arguments(batch: Sequence[ImageRecord]) -> tuple[Any, ...]:
            asked = [image for image in batch if image.split == "new" or image.category not in unavailable]
            return context.data, asked, context.config.bit_depth

        with runner.progress("index", "", len(images), "images") as bar:
            again: list[ImageRecord] = []
            for batch, answer in run_tasks(examine_all, batches, arguments, runner.pool("index")):
                if isinstance(answer, Exception):  # one of them has killed the process, and which is not known
                    again += batch
                    continue
                examined, peak_bytes = answer
                runner.record.cost("index", peak_bytes)
                unavailable |= {result.image.category for result in examined if result.store_unavailable}
                bar.advance(len(batch))
                yield from examined
            singles = [[image] for image in again]
            for batch, answer in run_tasks(examine_all, singles, arguments, runner.pool("index", alone=True)):
                if isinstance(answer, Exception):
                    yield Examined(batch[0], f"Reading it breaks down, alone as well: {error_line(answer)}")
                else:
                    yield from answer[0]
                bar.advance()

    return read
