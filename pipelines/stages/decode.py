"""Decode a batch's files into the array that a network takes: the Ray Data task before the networks.

A module of its own, since a process that imports it needs neither Ray Data nor a network.
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
    """A batch, ready for its network.

    Attributes:
        batch: the job.
        pixels: (chunk, 3, S, S) float32, the network's input; rows beyond `image_paths` are 0.
        image_paths: what could be read, in order.
        failures: what could not.
    """

    batch: ImageBatch
    pixels: np.ndarray
    image_paths: tuple[str, ...]
    failures: tuple[JobFailure, ...] = ()

    def as_row(self) -> dict[str, Any]:
        """Return a row of a Ray Data stream: the array as it is, the rest in one cell of bytes."""
        return {"pixels": self.pixels, "rest": pickle.dumps(replace(self, pixels=np.empty(0)))}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> DecodedBatch:
        """Return what `as_row` made a row of."""
        rest: DecodedBatch = pickle.loads(row["rest"])
        return replace(rest, pixels=np.asarray(row["pixels"]))


def decode_row(row: dict[str, Any], give_up: Callable[[Any], str]) -> dict[str, Any]:
    """Decode a row of the extraction's stream; a batch that ends its process every time is given up.

    Args:
        row: `batch`, a pickled `ImageBatch`.
        give_up: called with what is begun, returns why it is not to be tried again, or nothing.
    """
    batch: ImageBatch = pickle.loads(row["batch"])
    given_up = give_up(("decode", batch.shard))
    if given_up:
        failure = JobFailure(category=batch.category, backbone=batch.backbone, error=given_up)
        return DecodedBatch(batch=batch, pixels=_empty(batch), image_paths=(), failures=(failure,)).as_row()
    return decode_batch(batch).as_row()


def decode_batch(batch: ImageBatch) -> DecodedBatch:
    """Read a batch's images and lay them on the network's grid; name what cannot be read.

    Where the object store does not return an image, the rest is not asked for: each would be waited for as long.

    Args:
        batch: at most `chunk` images.
    """
    use_threads(1)
    # The last batch is padded to the full size: what comes out for an image must not depend on its neighbors' number.
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
    """(3, S, S) float32 of an image, which must be the one that was indexed."""
    spec = batch.spec
    content = batch.source.read_picture(image.image_path)
    digest = hashlib.sha256(content).hexdigest()
    if image.content_sha256 is not None and digest != image.content_sha256:
        raise ImageError("The file changed while the run was going on; run again.")
    pixels = read_image(content, spec.bit_depth)
    if spec.pasted:
        pixels, _ = paste_defect(pixels, int(digest[:12], 16))
    geometry = Geometry.of(pixels.shape[0], pixels.shape[1], spec.image_size, spec.full_frame)
    return preprocess(pixels, geometry).numpy()


def _empty(batch: ImageBatch) -> np.ndarray:
    size = batch.spec.image_size
    return np.zeros((batch.spec.chunk, 3, size, size), np.float32)


def _failure(batch: ImageBatch, image_path: str | None, error: str, *, store_unavailable: bool = False) -> JobFailure:
    return JobFailure(
        category=batch.category,
        backbone=batch.backbone,
        image_path=image_path,
        error=error,
        store_unavailable=store_unavailable,
    )
