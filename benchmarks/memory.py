"""Private memory of the whole job, and what listing the training images four times over adds to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Row
from benchmarks.processes import reconpatch
from pipelines.demo import prepare_demo

_CELLS = 28 * 28
_TIMES = 4


def run(threads: int, data: Path | None) -> Iterator[Row]:
    """The first category of `data`; without it, of the demo's."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        root = data if data is not None else prepare_demo(here / "demo")
        category = min(path for path in root.iterdir() if (path / "train" / "good").is_dir())
        peaks = []
        for times in (1, _TIMES):
            again = here / f"listed-{times}"
            good = _listed(category, again / category.name, times)
            peaks.append(reconpatch(again, here / f"run-{times}").private_bytes)
    added = (_TIMES - 1) * good // _TIMES * _CELLS
    sizes = f"{category.name}, {good // _TIMES} images to learn from, lite0, 224 px"
    yield Row("memory", "private memory, all processes", sizes, peaks[0] / 1e6, unit="MB")
    each = (peaks[1] - peaks[0]) / added
    what = f"added by listing them {_TIMES} times, a patch"
    yield Row(
        "memory", what, f"{sizes}, {added:,} patches more", each, 100.0, "the limit", each / 100.0, "≤ 1", "bytes"
    )


def _listed(category: Path, target: Path, times: int) -> int:
    """Links to a category's images, the good ones of training several times under other names; how many those are."""
    for path in sorted(category.rglob("*")):
        if not path.is_file():
            continue
        place = target / path.relative_to(category)
        place.parent.mkdir(parents=True, exist_ok=True)
        copies = times if path.parent == category / "train" / "good" else 1
        for copy in range(copies):
            place.with_stem(f"{path.stem}_{copy}" if copies > 1 else path.stem).symlink_to(path.resolve())
    return sum(1 for _ in (target / "train" / "good").iterdir())
