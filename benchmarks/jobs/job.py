"""Compare a complete run with anomalib's Patchcore, with the same backbone, images and image size."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Case, Row, faster
from benchmarks.processes import reconpatch
from benchmarks.processes import run as run_command
from pipelines.data.demo import prepare_demo


def run(threads: int, data: Path | None) -> Iterator[Row]:
    """Yield rows for each category. Both sides may use all CPUs.

    Args:
        threads: Number of torch threads of anomalib's process.
        data: Folder of categories; None for the demo's solar cells.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = data if data is not None else prepare_demo(work / "demo")
        for category in sorted(path.name for path in root.iterdir() if (path / "train" / "good").is_dir()):
            images = root / category
            ours = reconpatch(root, work / category, "--category", category, "--holdout", "0")
            anomalib = [
                sys.executable,
                "-m",
                "benchmarks.jobs.anomalib_job",
                str(images),
                str(work / "anomalib"),
                str(threads),
            ]
            rival = run_command(anomalib)
            count = sum(1 for path in (images / "train" / "good").iterdir())
            sizes = f"{category}, {count} training images, lite0, 224 px"
            case = Case("job", "training and test", sizes)
            yield faster(case, ours.seconds, rival.seconds, rival="anomalib Patchcore", target="≥ 3")
            yield Row(
                Case("job", "private memory, all processes", sizes),
                ours.private_bytes / 1e6,
                other=rival.private_bytes / 1e6,
                rival="anomalib Patchcore",
                ratio=rival.private_bytes / ours.private_bytes,
                unit="MB",
            )
