"""Two nightly runs: the first trains a model, the second scores new images with it and retrains nothing.

    python examples/nightly.py

A scheduler would call the same command every night; see docs/operations.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from solar_cells import CATEGORY, link_solar_cells


def main() -> None:
    """Run two nights on solar cells and print what each did, then the state of the registry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("nightly-example"), help="folder for data, models and scores")
    options = parser.parse_args()
    data = link_solar_cells(options.out / "data", train=40, test=8)
    registry, scores = options.out / "registry", options.out / "scores"

    command = [sys.executable, "-m", "pipelines"]  # `reconpatch-run`
    night = [*command, "nightly", "--data", data, "--registry", registry, "--scores", scores]
    night += ["--image-size", "224", "--backbone", "tf_efficientnet_lite0", "--epochs", "0"]

    subprocess.run(night, check=True)  # The first night: no model exists, so one is trained, tested and promoted.
    print_summary(scores)

    # During the next day the line makes twelve more parts. Only they are new: `nightly` finds the model up to date.
    new_images = link_solar_cells(options.out / "today", train=0, test=6) / CATEGORY / "test"
    subprocess.run([*night, "--images", collect(new_images, options.out / "incoming")], check=True)
    print_summary(scores)

    subprocess.run([*command, "status", "--registry", registry], check=True)


def collect(images: Path, target: Path) -> Path:
    """Link all images below a folder into target/<category>, the layout of `--images`."""
    (target / CATEGORY).mkdir(parents=True, exist_ok=True)
    for path in images.rglob("*.png"):
        link = target / CATEGORY / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    return target


def print_summary(scores: Path) -> None:
    """Print the rows of the newest night.parquet: one per category."""
    newest = max(scores.glob("*/night.parquet"), key=lambda path: path.stat().st_mtime)
    table = pq.read_table(newest).to_pandas()
    print(f"\n{newest.parent.name[:12]}: one row per category")
    print(table[["category", "learned", "judged", "images", "anomalies"]].to_string(index=False), "\n", flush=True)


if __name__ == "__main__":
    main()
