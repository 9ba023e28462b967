"""Score images that are in no standard layout: list them in a CSV file, with one row per image.

    python examples/custom_list.py

The list gives each image its category, split and label, so the folders may have any names.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from solar_cells import CATEGORY, link_solar_cells


def main() -> None:
    """Write a list of images, check it with `inspect`, and fit and score its images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("list-run"), help="run directory")
    options = parser.parse_args()
    images = link_solar_cells(options.out.with_name(options.out.name + "-data"), train=30, test=6)

    image_list = images / "list.csv"
    with image_list.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "category", "split", "label"])  # A column `mask` may follow.
        for path in sorted(images.rglob("*.png")):
            split, defect = path.parts[-3], path.parts[-2]
            # Your own rule is here: which product the image shows, and what is known about it. An empty label in the
            # split `test` means unknown: the image is scored, but not counted in metrics.
            writer.writerow([path.relative_to(images), f"line 1/{CATEGORY}", split, defect])
    print(f"{image_list}:")
    print("".join(image_list.open(encoding="utf-8").readlines()[:4]) + "...\n", flush=True)

    command = [sys.executable, "-m", "pipelines"]  # `reconpatch-run`
    subprocess.run([*command, "inspect", "--data", image_list], check=True)
    settings = ["--image-size", "224", "--backbone", "tf_efficientnet_lite0", "--epochs", "0"]
    subprocess.run([*command, "ensemble", "--data", image_list, "--out", options.out, *settings], check=True)


if __name__ == "__main__":
    main()
