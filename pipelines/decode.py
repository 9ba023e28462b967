"""The Ray Data task before the networks: a chunk's files become the batch that a network takes.

A module of its own, since a process that imports it needs neither Ray Data nor a network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipelines.chunks import View
from pipelines.resources import use_threads
from pipelines.storage import Store, UnansweredError
from pipelines.walk import UNREADABLE, reason_of
from reconpatch.defects import paste_defect
from reconpatch.geometry import Geometry
from reconpatch.images import ImageError, preprocess, read_image


def try_chunk(
    row: dict[str, Any], give_up: Callable[[Any], str], views: Sequence[View], sources: Sequence[Store]
) -> dict[str, Any]:
    """As `decode_chunk`; where no process survives it, it is given up, and none of its images is read."""
    given_up = give_up(("decode", row["shard"]))
    nothing: dict[str, Any] = {"paths": [], "contents": []} if given_up else {}
    return {**decode_chunk({**row, **nothing}, views, sources), "given_up": given_up}


def decode_chunk(row: dict[str, Any], views: Sequence[View], sources: Sequence[Store]) -> dict[str, Any]:
    """Read a chunk's images and lay them on the network's grid; what cannot be read is named.

    Where the object store does not give one, the rest is not asked for: each would be waited for as long.
    """
    use_threads(1)
    view, source = views[row["view"]], sources[row["source"]]
    size = view.image_size
    # The last chunk is padded to the full size: what comes out for an image must not depend on its neighbours' number.
    batch = np.zeros((view.chunk, 3, size, size), np.float32)
    readable: list[str] = []
    error_paths: list[str] = []
    errors: list[str] = []
    unanswered = ""
    for slot, (path, expected) in enumerate(zip(row["paths"], row["contents"], strict=True)):
        try:
            content = source.read_picture(path)
            digest = hashlib.sha256(content).hexdigest()
            if expected is not None and digest != expected:
                raise ImageError("The file changed while the run was going on; run again.")
            image = read_image(content, view.bit_depth)
            if view.pasted:
                image, _ = paste_defect(image, int(digest[:12], 16))
        except UnansweredError as error:
            unanswered = f"{path}: {reason_of(error)}"
            break
        except (*UNREADABLE, ValueError) as error:
            error_paths.append(path)
            errors.append(reason_of(error))
            continue
        geometry = Geometry.of(image.shape[0], image.shape[1], size, view.full_frame)
        batch[slot] = preprocess(image, geometry).numpy()
        readable.append(path)
    return {
        "category": row["category"],
        "view": row["view"],
        "shard": row["shard"],
        "images": len(row["paths"]),
        "batch": batch,
        "paths": readable,
        "error_paths": error_paths,
        "errors": errors,
        "unanswered": unanswered,
    }
