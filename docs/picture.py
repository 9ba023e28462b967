"""The README's picture, from a run of the demo: `make picture`.

A column pair a part: the picture, and the anomaly map over it. Nothing is hand-picked: of each category the most
anomalous defect, the middle one, and the good part that scored highest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

mpl.use("Agg")
import matplotlib.pyplot as plt


def examples(run: Path, category: str) -> list[tuple[str, dict[str, Any]]]:
    rows = pq.read_table(run / "scores" / "fused" / f"{category}.parquet").to_pylist()
    test = sorted((row for row in rows if row["split"] == "test"), key=lambda row: row["score"])
    good = [row for row in test if row["label"] == 0]
    defects = [row for row in test if row["label"] == 1]
    return [
        ("top defect", defects[-1]),
        ("middle defect", defects[len(defects) // 2]),
        ("top good", good[-1]),
    ]


def main(run: Path, data: Path, out: Path) -> None:
    categories = sorted(path.stem for path in (run / "scores" / "fused").glob("*.parquet"))
    figure, axes = plt.subplots(len(categories), 6, figsize=(12, 2.25 * len(categories)), layout="constrained")
    for line, category in zip(axes, categories, strict=True):
        table = pq.read_table(run / "maps" / f"{category}.parquet").to_pylist()
        maps = {
            row["image_path"]: np.array(row["map"], np.float32).reshape(row["height"], row["width"]) for row in table
        }
        shown = examples(run, category)
        low, high = np.nanpercentile(np.stack(list(maps.values())), [50, 99.9])
        for position, (title, row) in enumerate(shown):
            picture = np.asarray(Image.open(data / row["image_path"]).convert("L"))
            left, right = line[2 * position], line[2 * position + 1]
            left.imshow(picture, cmap="gray")
            left.set_title(f"{category}, {title}", fontsize=8, loc="left")
            right.imshow(picture, cmap="gray")
            seen = right.imshow(maps[row["image_path"]], cmap="inferno", vmin=low, vmax=high, alpha=0.6)
            right.plot(row["peak_col"], row["peak_row"], marker="*", color="#35d04f", markersize=12, mec="black")
            right.set_title(f"score {row['score']:.1f}", fontsize=8, loc="left")
            for axis in (left, right):
                axis.set_axis_off()
        figure.colorbar(seen, ax=line, fraction=0.01, pad=0.005).ax.tick_params(labelsize=7)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
