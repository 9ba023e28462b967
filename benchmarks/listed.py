"""What the driver does of a night in which nothing has changed, alone in a process: python -m benchmarks.listed DATA"""

from __future__ import annotations

import sys
from dataclasses import replace

from pipelines.dataset import assign_parts, by_category, list_images, trust
from pipelines.resources import measured
from pipelines.rundir import INDEX, INDEX_FILE
from pipelines.storage import Store
from pipelines.tables import read_rows, write_rows
from pipelines.walk import Image


def main(folder: str) -> None:
    """Print seconds, and bytes by which the peak of the process's memory grew."""
    place = Store.of(folder)
    known = [_hashed(*each).row() for each in enumerate(list_images(place).images)]
    write_rows(place, INDEX_FILE, known, INDEX)
    del known
    with measured() as before:
        pass
    with measured() as night:
        trusted = {row["image_path"]: row for row in read_rows(place, INDEX_FILE)}
        images = [each for image in list_images(place).images if (each := trust(image, trusted)) is not None]
        images = assign_parts(images, 0.2)
        write_rows(place, INDEX_FILE, [image.row() for image in images], INDEX)
        by_category(images)
    print(night.seconds, night.peak_bytes - before.peak_bytes)


def _hashed(number: int, image: Image) -> Image:
    return replace(image, width=300, height=300, content_sha256=f"{number:064x}")


if __name__ == "__main__":
    main(sys.argv[1])
