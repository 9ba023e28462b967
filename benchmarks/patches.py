"""Patch features against unfold and pool, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.compare import Row, faster, medians
from benchmarks.peers import unfold_patch_features
from reconpatch.patches import CHANNELS, patch_features

# (images, levels' (C, H, W), the target's s)
_SHAPES: dict[str, tuple[int, list[tuple[int, int, int]]]] = {
    "WRN-101, 480": (1, [(512, 60, 60), (1024, 30, 30)]),
    "DenseNet-201, 480": (1, [(512, 60, 60), (1792, 30, 30)]),
    "WRN-50, 224": (4, [(512, 28, 28), (1024, 14, 14)]),
    "WRN-50, 224, levels 1-3": (1, [(256, 56, 56), (512, 28, 28), (1024, 14, 14)]),
}


def run(threads: int) -> Iterator[Row]:
    for network, (images, levels) in _SHAPES.items():
        maps = [torch.rand(images, *size).contiguous(memory_format=torch.channels_last) for size in levels]
        for patch_size in (3, 5):
            yield from _against(network, maps, patch_size, threads)


def _against(network: str, maps: list[torch.Tensor], patch_size: int, threads: int) -> Iterator[Row]:
    patch_features(maps, patch_size)  # the weights are made once
    theirs = [level.contiguous() for level in maps]  # each takes the layout that suits it
    seconds = medians(
        {
            "ours": lambda: patch_features(maps, patch_size),
            "unfold": lambda: unfold_patch_features(theirs, patch_size, CHANNELS),
        },
        rounds=5,
    )
    sizes = f"{len(maps[0])} images, s {patch_size}, {threads} threads"
    target = "≥ 5" if patch_size == 5 else ""
    rival = "unfold + pool (patchcore-inspection's way)"
    yield faster("patches", network, sizes, seconds["ours"], seconds["unfold"], rival, target)
    peak, output = _allocated(lambda: patch_features(maps, patch_size))
    what = f"{network}: peak memory"
    yield Row("patches", what, sizes, peak / 1e6, output / 1e6, "its output", peak / output, "≤ 2", "MB")


def _allocated(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes that torch had allocated at most while the work went on, and those that are left: its result."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    del result
    return peak, now
