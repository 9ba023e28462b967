"""Measure the private memory of a complete run, and its increase if each training image is listed four times."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Case, Row
from benchmarks.processes import reconpatch
from pipelines.data.demo import prepare_demo

_CELLS = 28 * 28
_TIMES = 4
_LIMIT = 100.0  # bytes per patch


def run(data: Path | None) -> Iterator[Row]:
    """Yield rows for one category.

    Args:
        data: Folder of categories, of which the first is used; None for the demo's solar cells.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = data if data is not None else prepare_demo(work / "demo")
        category = min(path for path in root.iterdir() if (path / "train" / "good").is_dir())
        peaks = []
        for times in (1, _TIMES):
            linked = work / f"listed-{times}"
            good = _link_images(category, linked / category.name, times)
            peaks.append(reconpatch(linked, work / f"run-{times}").private_bytes)
    added = (_TIMES - 1) * good // _TIMES * _CELLS
    sizes = f"{category.name}, {good // _TIMES} training images, lite0, 224 px"
    yield Row(Case("memory", "private memory, all processes", sizes), peaks[0] / 1e6, unit="MB")
    per_patch = (peaks[1] - peaks[0]) / added
    yield Row(
        Case("memory", f"increase per patch with each image {_TIMES} times", f"{sizes}, {added:,} more patches"),
        per_patch,
        other=_LIMIT,
        rival="the limit",
        ratio=per_patch / _LIMIT,
        target="≤ 1",
        unit="bytes",
    )


def _link_images(category: Path, target: Path, times: int) -> int:
    """Create links to a category's images, several for each training image; return the number of training images."""
    for path in sorted(category.rglob("*")):
        if not path.is_file():
            continue
        link = target / path.relative_to(category)
        link.parent.mkdir(parents=True, exist_ok=True)
        copies = times if path.parent == category / "train" / "good" else 1
        for copy in range(copies):
            link.with_stem(f"{path.stem}_{copy}" if copies > 1 else path.stem).symlink_to(path.resolve())
    return sum(1 for _ in (target / "train" / "good").iterdir())
