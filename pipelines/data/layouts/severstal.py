"""Layout of the Severstal steel defects: a CSV file with the run lengths of the defects, as on Kaggle."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from pipelines.data.discovery import NO_TRUTH, Truth, Walk, files_below, named, pictures_in
from pipelines.data.layouts.annotations.outlines import shapes_text
from pipelines.data.layouts.categories import Categories
from pipelines.data.records import GOOD, TEST, TRAIN
from pipelines.errors import UsageError
from pipelines.storage.store import Store

_TABLE, _TRAIN, _TEST = "train.csv", "train_images", "test_images"
_COLUMNS = ("ImageId", "ClassId", "EncodedPixels")
_CATEGORY = "severstal"


def severstal(data: Store) -> Categories:
    """Find Severstal's layout: train_images/*.jpg, test_images/*.jpg and train.csv with the run lengths of defects.

    One category. An image of `train_images` that the table does not list is good, and a training image; the listed ones
    are test images. The images of `test_images` are test images without a label.

    Args:
        data: Data root.

    Raises:
        UsageError: The table lists all images, so that none is good, or has an invalid row.
    """
    if _TRAIN not in data.folders() or not data.exists(_TABLE):
        return {}
    text = data.read(_TABLE).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        return {}
    rows = list(reader)
    return {_CATEGORY: lambda: _walk(data, _runs(data, rows))}


def _walk(data: Store, listed: Mapping[str, Mapping[str, list[int]]]) -> Walk:
    """Return the images; `listed` is name -> class -> run lengths."""
    walk = Walk()
    table = next(info for info in data.files(recursive=False) if info.base_name == _TABLE)
    images = list(pictures_in(files_below(data, _TRAIN, walk), walk))
    for name, info in images:
        runs = listed.get(name.removeprefix(f"{_TRAIN}/"), {})
        shapes = shapes_text([{"rle": lengths} for lengths in runs.values()])
        walk.add(
            _CATEGORY,
            (name, info),
            split=TEST if runs else TRAIN,
            defect="+".join(f"class {klass}" for klass in sorted(runs)) if runs else GOOD,
            truth=Truth(masks=((_TABLE, table),), shapes=shapes) if runs else NO_TRUTH,
        )
    if not any(image.makes_model for image in walk.images):
        raise UsageError(
            f"--data {data.uri}: {_TABLE} lists all {len(images)} images of {_TRAIN} as defective. Add good images."
        )
    if missing := sorted(listed.keys() - {name.removeprefix(f"{_TRAIN}/") for name, _ in images}):
        walk.warnings.append(f"{named(missing)}: listed in {_TABLE}, but not in {_TRAIN}. The rows are ignored.")
    for image in pictures_in(files_below(data, _TEST, walk), walk):
        walk.add(_CATEGORY, image, split=TEST, defect=None)
    return walk


def _runs(data: Store, rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[int]]]:
    """Return image -> class -> [start, length, ...], the starts from 0; rows without run lengths mark no defect."""
    listed: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(rows, start=1):
        words = (row["EncodedPixels"] or "").split()
        if not words:
            continue
        try:
            values = [int(word) for word in words]
        except ValueError:
            values = []
        starts, lengths = values[::2], values[1::2]
        if len(starts) != len(lengths) or not lengths or min(starts) < 1 or min(lengths) < 1:
            raise UsageError(
                f"{data.below(_TABLE).uri}, row {number}: EncodedPixels is not a sequence of pairs of start (from 1) "
                "and length. Correct the row."
            )
        runs = [value for start, length in zip(starts, lengths, strict=True) for value in (start - 1, length)]
        listed.setdefault(row["ImageId"], {}).setdefault(row["ClassId"], []).extend(runs)
    return listed
