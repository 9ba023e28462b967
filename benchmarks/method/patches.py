"""Compare time and memory of the patch features with unfolding and pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.compare import Case, Row, faster, medians
from benchmarks.method.peers import unfold_patch_features
from reconpatch.features.patches import CHANNELS, patch_features

# Name -> (number of images, (C, H, W) of the feature map of each layer).
_SHAPES: dict[str, tuple[int, list[tuple[int, int, int]]]] = {
    "WRN-101, 480": (1, [(512, 60, 60), (1024, 30, 30)]),
    "DenseNet-201, 480": (1, [(512, 60, 60), (1792, 30, 30)]),
    "WRN-50, 224": (4, [(512, 28, 28), (1024, 14, 14)]),
    "WRN-50, 224, layers 1-3": (1, [(256, 56, 56), (512, 28, 28), (1024, 14, 14)]),
}


def run(threads: int) -> Iterator[Row]:
    """Yield rows for the feature maps of several backbones at s = 3 and s = 5.

    Args:
        threads: Number of torch threads, for the rows; the caller sets it in torch.
    """
    for network, (images, layers) in _SHAPES.items():
        maps = [torch.rand(images, *size).contiguous(memory_format=torch.channels_last) for size in layers]
        for patch_size in (3, 5):
            yield from _against(network, maps, patch_size, threads)


def _against(network: str, maps: list[torch.Tensor], patch_size: int, threads: int) -> Iterator[Row]:
    patch_features(maps, patch_size)  # computes the interpolation weights, which are cached
    channels_first = [layer.contiguous() for layer in maps]  # each side gets the memory layout for which it is faster
    seconds = medians(
        {
            "ours": lambda: patch_features(maps, patch_size),
            "unfold": lambda: unfold_patch_features(channels_first, patch_size, CHANNELS),
        },
        rounds=5,
    )
    sizes = f"{len(maps[0])} images, s {patch_size}, {threads} threads"
    target = "≥ 5" if patch_size == 5 else ""
    rival = "unfold + pool, as in patchcore-inspection"
    yield faster(Case("patches", network, sizes), seconds["ours"], seconds["unfold"], rival=rival, target=target)
    peak, output = _allocated_bytes(lambda: patch_features(maps, patch_size))
    yield Row(
        Case("patches", f"{network}: peak memory", sizes),
        peak / 1e6,
        other=output / 1e6,
        rival="its output",
        ratio=peak / output,
        target="≤ 2",
        unit="MB",
    )


def _allocated_bytes(work: Callable[[], object]) -> tuple[int, int]:
    """Return the peak of the bytes that torch allocates during a call, and the bytes of its result."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    del result
    return peak, now
