"""The index of a call: what lies in the folders is listed, what is known of it is looked up, the rest is hashed and
decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.config import RunConfig
from pipelines.dataset import Examined, Listing, examine, examine_all, trust
from pipelines.layouts import MVTEC
from pipelines.record import Record, read_run
from pipelines.rundir import INDEX_FILE, folder_name
from pipelines.secrets import masked
from pipelines.stages import Stages
from pipelines.storage import Store, UnansweredError
from pipelines.tables import read_rows
from pipelines.tasks import sentence_of
from pipelines.walk import Image
from reconpatch.thresholds import FEWEST_CONTENTS

_LONGEST_FOLDER = 240  # bytes: with endings like .parquet a file's name has 255 at most
_EXAMINED_AT_ONCE = 64  # images a hashing task reads: long enough to be worth a task, short enough for a moving bar


def with_listing(config: RunConfig, data: Store, listing: Listing) -> RunConfig:
    """What is to be done, with the layout that was found, and places by names that hold in any working directory.

    Ray's workers have working directories of their own, and `evaluate` may be called from another.
    """
    where = data.path(data.listed) if data.is_local else config.data
    return replace(config, data=where, layout=listing.layout, weights=from_anywhere(config.weights))


def from_anywhere(weights: str | None) -> str | None:
    """The folder of `--weights` by its whole name."""
    return None if weights is None else str(Path(weights).resolve())


def known_images(out: Store, config: RunConfig) -> dict[str, dict[str, Any]]:
    """image_path → row of the index that an earlier run left, to be trusted where fingerprints have not changed; none
    where its files are damaged: every image is read again then."""
    if config.rehash or not out.exists(INDEX_FILE):
        return {}
    try:
        earlier = (read_run(out) or {"config": {}})["config"]
        if earlier.get("bit_depth") != config.bit_depth or earlier.get("data") != masked(config.data):
            return {}
        return {row["image_path"]: row for row in read_rows(out, INDEX_FILE)}
    except (OSError, ValueError):
        return {}


def known_or_read(data: Store, image: Image, known: Mapping[str, Mapping[str, Any]], bit_depth: int) -> Image | None:
    """An image completed from what is known of it, else by reading it; None where it cannot be read.

    Raises:
        UnansweredError: the object store does not give it.
    """
    trusted = trust(image, known)
    if trusted is not None:
        return trusted
    found = examine(data, image, bit_depth)
    if found.unanswered:
        raise UnansweredError(f"{image.image_path}: {found.error}")
    return found.image if found.error is None else None


def index(stages: Stages, listed: Sequence[Image], known: Mapping[str, Mapping[str, Any]]) -> list[Image]:
    """Hash and decode every image that is not known yet, in Ray tasks; returns those that can be read.

    A category of which the object store did not give an image has failed: it is not learned from the others, and no
    more of it is asked for. New images that are not given are left out by name.
    """
    trusted = {image.image_path: trust(image, known) for image in listed}
    found = {path: image for path, image in trusted.items() if image is not None}
    unknown = [image for image in listed if image.image_path not in found]
    if not unknown:
        return [found[image.image_path] for image in listed]
    batches = [unknown[start : start + _EXAMINED_AT_ONCE] for start in range(0, len(unknown), _EXAMINED_AT_ONCE)]
    record = stages.record
    dim: dict[str, bool] = {}
    silent: dict[str, str] = {}

    def arguments(batch: Sequence[Image]) -> tuple[Any, ...]:
        asked = [image for image in batch if image.category not in silent]
        return stages.data, asked, stages.config.bit_depth

    def note(examined: Sequence[Examined], peak_bytes: int) -> None:
        record.cost("index", peak_bytes)
        for each in examined:
            path, category = each.image.image_path, each.image.category
            if each.unanswered and each.image.split != "new":
                silent.setdefault(category, f"{path}: {each.error}")
                continue
            if each.error is not None:
                record.image_unreadable(category, "index", path, each.error, unanswered=each.unanswered)
                continue
            found[path] = each.image
            if each.frames > 1:
                record.warn(f"{path}: holds {each.frames} pictures; the first is used.")
            if each.lowest_sixteenth is not None:
                dim[category] = dim.get(category, True) and each.lowest_sixteenth

    with stages.stage("index", "", len(unknown), "images") as stage:
        again: list[Sequence[Image]] = []
        for batch, answer in stages.tasks(examine_all, batches, arguments):
            if isinstance(answer, Exception):  # one of them has killed the process, and which is not known
                again += [[image] for image in batch]
                continue
            note(*answer)
            stage.advance(len(batch))
        for alone, answer in stages.tasks(examine_all, again, arguments, alone=True):  # none for another's sake
            if isinstance(answer, Exception):
                note([Examined(alone[0], f"Reading it breaks down, alone as well: {sentence_of(answer)}")], 0)
            else:
                note(*answer)
            stage.advance()
    for category, sentence in silent.items():
        record.category_failed(category, "index", sentence)
    for category in (category for category, is_dim in dim.items() if is_dim):
        record.warn(
            f"{category}: its pictures have more than 8 bits a channel and stay in the lowest sixteenth of "
            f"{stages.config.bit_depth} bits; give the camera's own with --bit-depth (12, say)."
        )
    return [found[image.image_path] for image in listed if image.image_path in found]


def usable(record: Record, categories: Sequence[str], images: Sequence[Image], config: RunConfig) -> list[Image]:
    """The images of the categories that have not failed and have a good one to be fitted on; the others have failed."""
    fitted = {image.category for image in images if image.part == "fit"}
    aside = {image.category for image in images if image.part == "holdout"}
    for category in categories:
        if category in record.failed:
            continue
        if len(folder_name(category)) > _LONGEST_FOLDER:
            record.category_failed(category, "index", "its name is too long for a folder's; give it a shorter one.")
        elif category not in fitted:
            where = f"{category}/train/good" if config.layout == MVTEC else "train"
            record.category_failed(category, "index", f"{where} has no image that can be read.")
        elif config.holdout and category not in aside:
            record.warn(
                f"{category}: fewer than {FEWEST_CONTENTS} good images differ; none is held out and no threshold is "
                f"promised."
            )
    return [image for image in images if image.category in fitted and image.category not in record.failed]
