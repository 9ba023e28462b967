"""The image index: unchanged images are looked up in an earlier index, the others are hashed and decoded.

`ImageIndex.build` also splits the good images into fit and calibration images and finds the categories that can be
trained. Runs, nightly runs, `--dry-run` and `inspect` all use it.
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
from pipelines.data.image_checks import copy_warnings, image_warnings
from pipelines.data.layouts.detect import MVTEC
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
from pipelines.tracking.run_info import IndexOrigin, read_index_origin
from reconpatch.detector.thresholds import FEWEST_CONTENTS

_LONGEST_FOLDER = 240  # bytes; a file name has at most 255, including endings such as .parquet
_EXAMINED_AT_ONCE = 64  # images per task: enough to outweigh its overhead, few enough for steady progress
# Hashes and decodes images; yields the results in any order.
Reader = Callable[[Sequence[ImageRecord]], Iterable[Examined]]
KnownRows = Mapping[str, Mapping[str, Any]]  # image_path -> row of an earlier index


class IndexSettings(Protocol):
    """Settings that an index depends on; a `RunConfig` provides them.

    Attributes:
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        holdout: Share of the good training images that is held out as calibration images, at least 0 and below 1.
    """

    @property
    def bit_depth(self) -> int: ...

    @property
    def holdout(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class CompletedImages:
    """Images with their digests and sizes.

    Attributes:
        images: Readable images, in the order in which they were listed.
        examined: Results for the images that were not known from an earlier index, readable or not.
        failures: Images that cannot be read, and categories of which an object store did not return an image.
        warnings: Warnings for the user, one sentence each.
    """

    images: tuple[ImageRecord, ...]
    examined: tuple[Examined, ...] = ()
    failures: tuple[JobFailure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """The images that a command works on.

    Attributes:
        images: All readable images, parts assigned.
        usable: Those of `images` whose category can be trained.
        examined: Results for the images that were not known from an earlier index, readable or not.
        failures: Images that cannot be read and categories that cannot be trained.
        warnings: Warnings for the user, one sentence each.
    """

    images: tuple[ImageRecord, ...]
    usable: tuple[ImageRecord, ...]
    examined: tuple[Examined, ...]
    failures: tuple[JobFailure, ...]
    warnings: tuple[str, ...]

    @classmethod
    def build(cls, settings: IndexSettings, listing: Listing, known: KnownRows, *, read: Reader) -> ImageIndex:
        """Build the index of a data root.

        Args:
            settings: Bit depth and share of calibration images.
            listing: Categories and images of the data root.
            known: Rows of an earlier index, by image path; used for files whose fingerprint is unchanged.
            read: Hashes and decodes the other images.
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
            warnings=(*completed.warnings, *copy_warnings(completed.images), *warnings),
        )

    @property
    def unavailable(self) -> list[str]:
        """Names of the categories of which an object store did not return an image."""
        return [failure.category for failure in self.failures if failure.store_unavailable and not failure.image_path]

    def write(self, out: Store, images: Iterable[ImageRecord], *, untouched: Collection[str] = ()) -> None:
        """Write index.parquet and keep the earlier rows of some categories.

        The earlier rows of unavailable categories are kept as well. An unavailable category without earlier rows gets
        rows of its readable images.

        Args:
            out: Folder of index.parquet.
            images: Images to write.
            untouched: Names of further categories whose earlier rows are kept.
        """
        kept = {*untouched, *self.unavailable}
        earlier = [row for row in rows_if_there(out, INDEX_FILE) if row["category"] in kept] if kept else []
        new = set(self.unavailable) - {row["category"] for row in earlier}
        rows = [image.row() for image in images if image.category not in kept]
        rows += [*earlier, *(image.row() for image in self.images if image.category in new)]
        write_rows(out, INDEX_FILE, rows, INDEX)


def with_listing(config: RunConfig, data: Store, listing: Listing) -> RunConfig:
    """Return the configuration with the detected layout and with absolute paths of the data and the weights.

    Relative paths do not work for Ray's workers and for `evaluate`, which have other working directories.

    Args:
        config: Run configuration as the user gave it.
        data: Data root.
        listing: Categories, images and layout of the data root.
    """
    where = data.path(data.listed) if data.is_local else config.data
    return replace(config, data=where, layout=listing.layout, weights=absolute_path(config.weights))


def absolute_path(weights: str | None) -> str | None:
    """Return the absolute path of the folder of `--weights`; None if the option is not given.

    Args:
        weights: Path of the folder; None if the option is not given.
    """
    return None if weights is None else str(Path(weights).resolve())


def known_images(out: Store, config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the rows of the index of an earlier run in the same run directory.

    Args:
        out: Run directory.
        config: Configuration of the current run.

    Returns:
        image_path -> row. Empty with `--rehash`, if the earlier run had other data or another bit depth, if its files
        are damaged, or if there is no index.
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
    """Add digest and size to listed images, from an earlier index or by reading the files.

    A category of which the object store did not return an image fails as a whole, because a model of the remaining
    images would be another one. New images (split 'new') that the store did not return fail one by one.

    Args:
        listed: Images in the order of the listing.
        known: Rows of an earlier index, by image path; used for files whose fingerprint is unchanged.
        read: Hashes and decodes the other images.
        bit_depth: Significant bits per channel that images with more than 8 bits are read with, for the warnings.
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
        warnings=tuple(image_warnings(examined, bit_depth)),
    )


def _failure(examined: Examined) -> JobFailure | None:
    """Return the failure of an image or of its category; None if the image is readable."""
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


def _unusable(
    listing: Listing, images: Sequence[ImageRecord], failed: Collection[str], settings: IndexSettings
) -> tuple[list[JobFailure], list[str]]:
    """Return failures of categories that cannot be trained, except those in `failed`, and warnings of others."""
    fitted = {image.category for image in images if image.part == "fit"}
    held_out = {image.category for image in images if image.part == "holdout"}
    failures, warnings = [], []
    for category in listing.categories:
        if category in failed:
            continue
        if len(folder_name(category)) > _LONGEST_FOLDER:
            size = len(folder_name(category))
            error = f"The name takes {size} bytes as a folder name, more than {_LONGEST_FOLDER}. Use a shorter name."
            failures.append(JobFailure(category=category, error=error))
        elif category not in fitted:
            where = f"{category}/train/good" if listing.layout == MVTEC else "The split 'train'"
            error = f"{where} has no readable image. Add good training images."
            failures.append(JobFailure(category=category, error=error))
        elif settings.holdout and category not in held_out:
            warnings.append(
                f"{category}: no calibration images are held out, so there is no threshold. Provide at least "
                f"{FEWEST_CONTENTS} distinct good images; if there are as many, raise --holdout."
            )
    return failures, warnings


def read_in_threads(data: Store, bit_depth: int, on_image: Callable[[], None]) -> Reader:
    """Return a reader that reads images in threads of this process, without Ray.

    Args:
        data: Store that the image paths are relative to.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        on_image: Called after each image.
    """

    def read(images: Sequence[ImageRecord]) -> Iterator[Examined]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for examined in pool.map(lambda image: examine(data, image, bit_depth), images):
                on_image()
                yield examined

    return read


def read_in_tasks(runner: Runner) -> Reader:
    """Return a reader that reads images in Ray tasks.

    Once an object store did not return an image of a category, the remaining images of the category are not requested.

    Args:
        runner: Runner that provides the task pool and shows the progress.
    """
    context = runner.context

    def read(images: Sequence[ImageRecord]) -> Iterator[Examined]:
        batches = [images[start : start + _EXAMINED_AT_ONCE] for start in range(0, len(images), _EXAMINED_AT_ONCE)]
        unavailable: set[str] = set()

        def arguments(batch: Sequence[ImageRecord]) -> tuple[Any, ...]:
            asked = [image for image in batch if image.split == "new" or image.category not in unavailable]
            return context.data, asked, context.config.bit_depth

        with runner.progress("index", "", len(images), "images") as bar:
            retried: list[ImageRecord] = []
            for batch, answer in run_tasks(examine_all, batches, arguments, runner.pool("index")):
                if isinstance(answer, Exception):  # any image of the batch may have killed the process
                    retried += batch
                    continue
                examined, peak_bytes = answer
                runner.record.cost("index", peak_bytes)
                unavailable |= {result.image.category for result in examined if result.store_unavailable}
                bar.advance(len(batch))
                yield from examined
            singles = [[image] for image in retried]
            for batch, answer in run_tasks(examine_all, singles, arguments, runner.pool("index", alone=True)):
                if isinstance(answer, Exception):
                    yield Examined(
                        batch[0], f"Reading the image failed, also in a task of its own: {error_line(answer)}"
                    )
                else:
                    yield from answer[0]
                bar.advance()

    return read
