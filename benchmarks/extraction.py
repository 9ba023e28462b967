"""Images a second in steady state against a bare PyTorch loop of the same network, with one worker and with two."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.compare import Row, medians
from benchmarks.inputs import BACKBONE, SIZE, batch_of, elpv_images, folder_of
from benchmarks.processes import reconpatch, shard_times
from reconpatch.backbones import load_backbone

_IMAGES = 1_280
_CHUNK = 16
_BARE = 10  # batches of the bare loop
_ROUNDS = 3


def run(threads: int) -> Iterator[Row]:
    """One thread a worker, whatever `threads` says; a CPU a worker where workers are compared with each other.

    On several CPUs one worker's decoding runs beside its network, which is no worker's doing.
    """
    ways = {"one": (1, None), "one of one": (1, 1), "two of two": (2, 2)}
    rates: dict[str, list[float]] = {name: [] for name in ("bare", *ways)}
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(Path(folder) / "data", 1, _IMAGES - 16)
        for turn in range(_ROUNDS):
            rates["bare"].append(_bare())
            for name, (workers, cpus) in ways.items():
                rates[name].append(_steady(data, Path(folder) / f"{name}-{turn}", workers, cpus))
    bare, one, alone, two = (sorted(each)[_ROUNDS // 2] for each in rates.values())
    sizes = f"{BACKBONE}, {SIZE} px, {_IMAGES} images, 1 thread a worker"
    what = "images a second, steady state"
    yield Row("extraction", f"{what}, 1 worker", sizes, one, bare, "bare PyTorch loop", one / bare, "≥ 0.9", "/s")
    yield Row("extraction", f"{what}, 2 workers", sizes, two, alone, "1 worker on 1 CPU", two / alone, "≥ 1.8", "/s")


def _bare() -> float:
    """The network alone on images that lie in memory, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    backbone = load_backbone(BACKBONE, image_size=SIZE)
    batch = torch.from_numpy(batch_of(elpv_images()[:_CHUNK]))
    backbone(batch)
    seconds = medians({"network": lambda: [backbone(batch) for _ in range(_BARE)]}, rounds=1)["network"]
    torch.set_num_threads(threads)
    return _BARE * _CHUNK / seconds


def _steady(data: Path, out: Path, workers: int, cpus: int | None) -> float:
    """From when the shards began to come regularly to the last: when the files were finished is what is looked at."""
    options = ("--workers", str(workers), "--chunk", str(_CHUNK), "--coreset", "0.0001", "--keep-features")
    reconpatch(data, out, *options, cpus=cpus)
    times = shard_times(out / "_scratch")[4 * workers :]
    return (len(times) - 1) * _CHUNK / (times[-1] - times[0])
