"""Time the driver's part of a nightly run without changed images: python -m benchmarks.nightly.listing DATA"""

from __future__ import annotations

import sys
from dataclasses import replace

from pipelines.data.dataset import list_images
from pipelines.data.examine import trust
from pipelines.data.records import INDEX, ImageRecord
from pipelines.data.split import assign_parts, by_category
from pipelines.runtime.resources import measured
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.paths import INDEX_FILE
from pipelines.storage.store import Store


def main(folder: str) -> None:
    """Print the time in seconds, and the increase of the peak memory of this process in bytes.

    Args:
        folder: Folder of categories.
    """
    store = Store.of(folder)
    known = [_hashed(number, image).row() for number, image in enumerate(list_images(store).images)]
    write_rows(store, INDEX_FILE, known, INDEX)
    del known
    with measured() as before:
        pass
    with measured() as night:
        trusted = {row["image_path"]: row for row in read_rows(store, INDEX_FILE)}
        listed = list_images(store).images
        images = [known_image for image in listed if (known_image := trust(image, trusted)) is not None]
        images = assign_parts(images, 0.2)
        write_rows(store, INDEX_FILE, [image.row() for image in images], INDEX)
        by_category(images)
    print(night.seconds, night.peak_bytes - before.peak_bytes)


def _hashed(number: int, image: ImageRecord) -> ImageRecord:
    return replace(image, width=300, height=300, content_sha256=f"{number:064x}")


if __name__ == "__main__":
    main(sys.argv[1])
