"""Decoding of a batch: the Ray Data task that turns image files into the input array of a backbone.

It is separate from `pipelines.stages.extract` so that a decoding process imports neither Ray Data nor a backbone.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.data.records import ImageRecord
from pipelines.errors import IMAGE_READ_ERRORS, ImageError, StoreUnavailableError, error_line
from pipelines.planning.batches import ImageBatch
from pipelines.planning.stage import JobFailure
from pipelines.runtime.resources import use_threads
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image
from reconpatch.imaging.synthetic_defects import paste_defect


@dataclass(frozen=True, kw_only=True)
class DecodedBatch:
    """The decoded images of a batch, as input of its backbone.

    Attributes:
        batch: The job.
        pixels: (chunk, 3, S, S) float32, the backbone's input; complete only if there are no failures. Slots after the
            last image are 0.
        image_paths: Paths of the images that could be read, in the order of the batch.
        failures: The images that could not be read; one failure without a path if the whole batch failed.
    """

    batch: ImageBatch
    pixels: np.ndarray
    image_paths: tuple[str, ...]
    failures: tuple[JobFailure, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """Return the batch as a row of a Ray Data stream.

        Returns:
            `pixels`, the array, and `rest`, the other fields as pickled bytes.
        """
        return {"pixels": self.pixels, "rest": pickle.dumps(replace(self, pixels=np.empty(0)))}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> DecodedBatch:
        """Return the batch that `as_row` converted.

        Args:
            row: Return value of `as_row`.

        Returns:
            The batch.
        """
        rest: DecodedBatch = pickle.loads(row["rest"])
        return replace(rest, pixels=np.asarray(row["pixels"]))


def decode_row(row: dict[str, Any], give_up: Callable[[Any], str]) -> dict[str, Any]:
    """Decode the batch of a row of the extraction stream.

    A batch that ended its process at each of the allowed attempts is not decoded; the result has a failure instead.

    Args:
        row: `batch`, a pickled `ImageBatch`.
        give_up: Counts an attempt at the given work (`RetryLimit`). Returns the reason if the work must not be tried
            again, else an empty text.

    Returns:
        `DecodedBatch.as_row` of the batch.
    """
    batch: ImageBatch = pickle.loads(row["batch"])
    given_up = give_up(("decode", batch.shard))
    if given_up:
        failure = JobFailure(category=batch.category, backbone=batch.backbone, error=given_up)
        return DecodedBatch(batch=batch, pixels=_empty(batch), image_paths=(), failures=(failure,)).as_row()
    return decode_batch(batch).as_row()


def decode_batch(batch: ImageBatch) -> DecodedBatch:
    """Read the images of a batch and convert them to the backbone's input.

    If the object store does not return an image, the remaining images are not requested, because each request would
    take as long to fail.

    Args:
        batch: At most `chunk` images.

    Returns:
        The decoded images, and a failure for each image that could not be read.
    """
    use_threads(1)
    # The last batch is padded to the full size, so that features do not depend on the number of images in a batch.
    pixels = _empty(batch)
    image_paths: list[str] = []
    failures: list[JobFailure] = []
    for slot, image in enumerate(batch.images):
        path = image.image_path
        try:
            pixels[slot] = _network_input(batch, image)
        except StoreUnavailableError as error:
            failures.append(_failure(batch, None, f"{path}: {error_line(error)}", store_unavailable=True))
            break
        except (*IMAGE_READ_ERRORS, ValueError) as error:
            failures.append(_failure(batch, path, error_line(error)))
        else:
            image_paths.append(path)
    return DecodedBatch(batch=batch, pixels=pixels, image_paths=tuple(image_paths), failures=tuple(failures))


def _network_input(batch: ImageBatch, image: ImageRecord) -> np.ndarray:
    """Return an image as (3, S, S) float32; raise ImageError if the file has changed since it was indexed."""
    spec = batch.spec
    content = batch.source.read_picture(image.image_path)
    digest = hashlib.sha256(content).hexdigest()
    if image.content_sha256 is not None and digest != image.content_sha256:
        raise ImageError("The file changed during the run. Run the command again.")
    pixels = read_image(content, spec.bit_depth)
    if spec.pasted:
        pixels, _ = paste_defect(pixels, int(digest[:12], 16))
    geometry = Geometry.of(pixels.shape[0], pixels.shape[1], spec.image_size, spec.full_frame)
    return preprocess(pixels, geometry).numpy()


def _empty(batch: ImageBatch) -> np.ndarray:
    """Return the backbone's input for a batch, filled with 0."""
    size = batch.spec.image_size
    return np.zeros((batch.spec.chunk, 3, size, size), np.float32)


def _failure(batch: ImageBatch, image_path: str | None, error: str, *, store_unavailable: bool = False) -> JobFailure:
    """Return the failure of an image of a batch, or of the whole batch if there is no path."""
    return JobFailure(
        category=batch.category,
        backbone=batch.backbone,
        image_path=image_path,
        error=error,
        store_unavailable=store_unavailable,
    )
