"""The whole job against anomalib's Patchcore, fitted and tested by its own Engine: same network, images and size."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Row, faster
from benchmarks.processes import reconpatch
from benchmarks.processes import run as run_command
from pipelines.demo import prepare_demo


def run(threads: int, data: Path | None) -> Iterator[Row]:
    """All CPUs for either side. Without `data`, the demo's solar cells."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        root = data if data is not None else prepare_demo(here / "demo")
        for category in sorted(path.name for path in root.iterdir() if (path / "train" / "good").is_dir()):
            images = root / category
            ours = reconpatch(root, here / category, "--category", category, "--holdout", "0")
            anomalib = [
                sys.executable,
                "-m",
                "benchmarks.anomalib_job",
                str(images),
                str(here / "anomalib"),
                str(threads),
            ]
            theirs = run_command(anomalib)
            count = sum(1 for path in (images / "train" / "good").iterdir())
            sizes = f"{category}, {count} images to learn from, lite0, 224 px"
            yield faster("job", "fit and test", sizes, ours.seconds, theirs.seconds, "anomalib Patchcore", "≥ 3")
            megabytes = ours.private_bytes / 1e6, theirs.private_bytes / 1e6
            yield Row(
                "job",
                "private memory, all processes",
                sizes,
                megabytes[0],
                megabytes[1],
                "anomalib Patchcore",
                megabytes[1] / megabytes[0],
                unit="MB",
            )
