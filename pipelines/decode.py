"""The Ray Data task before the networks: a chunk's files become the batch that a network takes.

A module of its own, since a process that imports it needs neither Ray Data nor a network.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pipelines.config import RunConfig
from pipelines.resources import use_threads
from pipelines.storage import Store
from reconpatch.geometry import Geometry
from reconpatch.images import ImageError, preprocess, read_image


def decode_chunk(row: dict[str, Any], config: RunConfig, data: Store) -> dict[str, Any]:
    """Read a chunk's images and lay them on the network's grid; what cannot be read stays black and is named."""
    use_threads(1)
    size = config.image_size
    # The last chunk is padded to the full size: what comes out for an image must not depend on its neighbours' number.
    batch = np.zeros((config.chunk, 3, size, size), np.float32)
    readable: list[str] = []
    slots: list[int] = []
    error_paths: list[str] = []
    errors: list[str] = []
    for slot, (path, expected) in enumerate(zip(row["paths"], row["contents"], strict=True)):
        try:
            content = data.read(path)
            if expected is not None and hashlib.sha256(content).hexdigest() != expected:
                raise ImageError("The file changed while the run was going on; run again.")
            image = read_image(content, config.bit_depth)
        except (ImageError, OSError) as error:
            error_paths.append(path)
            errors.append(" ".join(str(error).split()))
            continue
        geometry = Geometry.of(image.shape[0], image.shape[1], size, config.full_frame)
        batch[slot] = preprocess(image, geometry).numpy()
        readable.append(path)
        slots.append(slot)
    return {
        "category": row["category"],
        "backbone": row["backbone"],
        "shard": row["shard"],
        "batch": batch,
        "paths": readable,
        "slots": slots,
        "error_paths": error_paths,
        "errors": errors,
    }
