"""Fit a model on images of good parts, score the test images, and list the most anomalous ones.

python examples/fit_and_score.py                          # solar cells
python examples/fit_and_score.py --data DATA --out RUN    # your images: DATA/<category>/train/good/*.png, test/...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from solar_cells import link_solar_cells


def main() -> None:
    """Run `reconpatch-run ensemble` with one small backbone and print the five highest scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data root (default: solar cells, linked into <out>-data)")
    parser.add_argument("--out", type=Path, default=Path("example-run"), help="run directory")
    options = parser.parse_args()
    data = options.data or link_solar_cells(options.out.with_name(options.out.name + "-data"))

    # `python -m pipelines` is the command `reconpatch-run`. Running it again computes only what is missing or changed.
    command = [sys.executable, "-m", "pipelines", "ensemble"]
    settings = ["--image-size", "224", "--backbone", "tf_efficientnet_lite0", "--maps"]
    subprocess.run([*command, "--data", data, "--out", options.out, *settings], check=True)

    scores = ds.dataset(options.out / "scores" / "fused", format="parquet").to_table(filter=ds.field("split") == "test")
    highest = scores.sort_by([("score", "descending")]).slice(0, 5)
    print("\nHighest scores:")
    print_table(highest.select(["image_path", "score", "p_value", "is_anomaly", "peak_row", "peak_col"]))


def print_table(table: pa.Table) -> None:
    """Print the rows of a table."""
    print(table.to_pandas().to_string(index=False))


if __name__ == "__main__":
    main()
