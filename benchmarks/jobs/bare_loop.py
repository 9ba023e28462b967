"""Time a plain PyTorch loop over images in memory on one thread: python -m benchmarks.jobs.bare_loop SECONDS."""

from __future__ import annotations

import sys
import time

import torch

from benchmarks.inputs import BACKBONE, SIZE, batch_of, elpv_images
from reconpatch.features.backbones import load_backbone

_BATCH = 16


def images_per_second(seconds: float) -> float:
    """Return the throughput of forward passes of the backbone, in images per second.

    Args:
        seconds: Duration of the loop in seconds.
    """
    torch.set_num_threads(1)
    backbone = load_backbone(BACKBONE, image_size=SIZE)
    batch = torch.from_numpy(batch_of(elpv_images()[:_BATCH]))
    backbone(batch)
    done, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        backbone(batch)
        done += _BATCH
    return done / passed


if __name__ == "__main__":
    print(images_per_second(float(sys.argv[1])))
