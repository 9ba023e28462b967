"""Images a second in steady state against a bare PyTorch loop of the same network, with one worker and with two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.compare import Row
from benchmarks.inputs import BACKBONE, SIZE, folder_of
from benchmarks.processes import allowed_cpus, pinned, reconpatch, shard_times
from pipelines.resources import KEEP_FREED_MEMORY

_IMAGES = 800
_CHUNK = 16
_BARE = 3  # seconds of a bare loop
_ROUNDS = 3


def run(threads: int) -> Iterator[Row]:
    """One thread a worker, whatever `threads` says; a CPU a worker where workers are compared with each other.

    On several CPUs one worker's decoding runs beside its network, which is no worker's doing. Two bare loops at once
    say how far two workers can get on this machine at all.
    """
    ways = {"one": (1, None), "one of one": (1, 1), "two of two": (2, 2)}
    names = ("bare", *ways, "bare one", "bare two")
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(Path(folder) / "data", 1, _IMAGES - 16)
        for turn in range(_ROUNDS):
            rates["bare"].append(_bare(1, {}))
            for name, (workers, cpus) in ways.items():
                rates[name].append(_steady(data, Path(folder) / f"{name}-{turn}", workers, cpus))
            rates["bare one"].append(_bare(1, KEEP_FREED_MEMORY))
            rates["bare two"].append(_bare(2, KEEP_FREED_MEMORY))
    bare, one, alone, two, bare_one, bare_two = (sorted(rates[name])[_ROUNDS // 2] for name in names)
    sizes = f"{BACKBONE}, {SIZE} px, {_IMAGES} images, 1 thread a worker"
    what = "images a second, steady state"
    yield Row("extraction", f"{what}, 1 worker", sizes, one, bare, "bare PyTorch loop", one / bare, "≥ 0.9", "/s")
    yield Row("extraction", f"{what}, 2 workers", sizes, two, alone, "1 worker on 1 CPU", two / alone, "≥ 1.8", "/s")
    gain = bare_two / bare_one
    yield Row(
        "extraction",
        "the same of bare loops: the machine's limit",
        sizes,
        bare_two,
        bare_one,
        "1 loop",
        gain,
        unit="/s",
    )


def _bare(processes: int, environment: Mapping[str, str]) -> float:
    """Bare loops at once, a CPU each, together."""
    loops = [
        subprocess.Popen(
            pinned([sys.executable, "-m", "benchmarks.bare_loop", str(_BARE)], [cpu]),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        for cpu in allowed_cpus()[:processes]
    ]
    return sum(float(loop.communicate()[0]) for loop in loops)


def _steady(data: Path, out: Path, workers: int, cpus: int | None) -> float:
    """From when the shards began to come regularly to the last: when the files were finished is what is looked at."""
    options = ("--workers", str(workers), "--chunk", str(_CHUNK), "--coreset", "0.0001", "--keep-features")
    reconpatch(data, out, *options, cpus=cpus)
    times = shard_times(out / "_scratch")[4 * workers :]
    return (len(times) - 1) * _CHUNK / (times[-1] - times[0])
