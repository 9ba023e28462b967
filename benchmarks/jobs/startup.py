"""Time a small run on two categories of 16 images, from its start to its first features and to its end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Case, Row
from benchmarks.inputs import folder_of
from benchmarks.processes import reconpatch, shard_times

_ROUNDS = 3
_GOOD = 12


def run() -> Iterator[Row]:
    """Yield rows whose ratios are relative to the time of importing torch, timm and Ray."""
    firsts, wholes, imports = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(Path(folder) / "data", 2, _GOOD, test=4)
        for turn in range(_ROUNDS):
            out = Path(folder) / f"run-{turn}"
            finished = reconpatch(data, out, "--keep-features")
            firsts.append(shard_times(out / "_scratch")[0] - finished.started)
            wholes.append(finished.seconds)
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch, timm, ray.data, ray.train.torch"], check=True)
            imports.append(time.perf_counter() - start)
    middle = _ROUNDS // 2
    sizes = f"2 categories of {_GOOD + 4} images, lite0, 224 px"
    bare = sorted(imports)[middle]
    for what, seconds in (("to the first features", firsts), ("to the end", wholes)):
        ours = sorted(seconds)[middle]
        case = Case("startup", what, sizes)
        yield Row(case, ours, other=bare, rival="importing torch, timm and ray", ratio=ours / bare)
