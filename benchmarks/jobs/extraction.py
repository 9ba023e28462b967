"""Compare the extraction rate in steady state with a plain PyTorch loop over the same backbone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.compare import Case, Row
from benchmarks.inputs import BACKBONE, SIZE, folder_of
from benchmarks.processes import allowed_cpus, pinned, reconpatch, shard_times
from pipelines.runtime.resources import KEEP_FREED_MEMORY

_IMAGES = 800
_CHUNK = 16
_BARE_SECONDS = 3
_ROUNDS = 3


def run() -> Iterator[Row]:
    """Yield rows for one worker and for two workers, with one thread each.

    When one worker is compared with two, each worker has one CPU. With more CPUs, a single worker would decode in
    parallel to its forward passes. Two simultaneous plain loops show the limit of this machine for two workers.
    """
    ways = {"one": (1, None), "one of one": (1, 1), "two of two": (2, 2)}
    names = ("bare", *ways, "bare one", "bare two")
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(Path(folder) / "data", 1, _IMAGES - 16)
        for turn in range(_ROUNDS):
            rates["bare"].append(_bare_rate(1, {}))
            for name, (workers, cpus) in ways.items():
                rates[name].append(_steady_rate(data, Path(folder) / f"{name}-{turn}", workers, cpus))
            rates["bare one"].append(_bare_rate(1, KEEP_FREED_MEMORY))
            rates["bare two"].append(_bare_rate(2, KEEP_FREED_MEMORY))
    bare, one, alone, two, bare_one, bare_two = (sorted(rates[name])[_ROUNDS // 2] for name in names)
    sizes = f"{BACKBONE}, {SIZE} px, {_IMAGES} images, 1 thread per worker"
    what = "images per second, steady state"
    case = Case("extraction", f"{what}, 1 worker", sizes)
    yield Row(case, one, other=bare, rival="plain PyTorch loop", ratio=one / bare, target="≥ 0.9", unit="/s")
    case = Case("extraction", f"{what}, 2 workers", sizes)
    yield Row(case, two, other=alone, rival="1 worker on 1 CPU", ratio=two / alone, target="≥ 1.8", unit="/s")
    case = Case("extraction", "2 plain loops: the limit of the machine", sizes)
    yield Row(case, bare_two, other=bare_one, rival="1 loop", ratio=bare_two / bare_one, unit="/s")


def _bare_rate(processes: int, environment: Mapping[str, str]) -> float:
    """Return the images per second of several simultaneous plain loops together, each on its own CPU."""
    loops = [
        subprocess.Popen(
            pinned([sys.executable, "-m", "benchmarks.jobs.bare_loop", str(_BARE_SECONDS)], [cpu]),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        for cpu in allowed_cpus()[:processes]
    ]
    return sum(float(loop.communicate()[0]) for loop in loops)


def _steady_rate(data: Path, out: Path, workers: int, cpus: int | None) -> float:
    """Return the images per second from the times of the feature shards, without the first four of each worker."""
    options = ("--workers", str(workers), "--chunk", str(_CHUNK), "--coreset", "0.0001", "--keep-features")
    reconpatch(data, out, *options, cpus=cpus)
    times = shard_times(out / "_scratch")[4 * workers :]
    return (len(times) - 1) * _CHUNK / (times[-1] - times[0])
