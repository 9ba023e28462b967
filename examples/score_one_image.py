"""Score one image in this process, without Ray, and draw its anomaly map.

    python examples/score_one_image.py RUN/models/CATEGORY part.png --out part-map.png

The model is that of a run, for example of `fit_and_score.py`. Drawing needs the extra 'figures' (matplotlib).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # Draws into a file; no display is needed.
import matplotlib.pyplot as plt

from reconpatch import Detector, Verdict, read_image


def main() -> None:
    """Load a model, score the image, print the verdict and write the drawing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a model: RUN/models/CATEGORY")
    parser.add_argument("image", type=Path, help="image to score")
    parser.add_argument("--out", type=Path, default=Path("anomaly-map.png"), help="drawing to write")
    options = parser.parse_args()

    detector = Detector.load(options.model)  # Takes seconds. Load a model once, then score any number of images.
    verdict = detector.score(options.image)

    print(f"score      {verdict.score:.3f}")
    if verdict.is_anomaly is None:
        print("verdict    none: the model has no calibration images")
    else:
        print(f"threshold  {verdict.threshold:.3f}")
        print(f"p-value    {verdict.p_value:.3f}")
        print(f"verdict    {'anomalous' if verdict.is_anomaly else 'good'}")
    print(f"peak       row {verdict.peak_row}, column {verdict.peak_col}")
    print(f"compared   with {verdict.nearest_image}, the most similar good patch")
    draw(options.image, verdict, options.out)
    print(f"drawing    {options.out}")


def draw(image: Path, verdict: Verdict, target: Path) -> None:
    """Write the image beside its anomaly map; a cross marks the peak."""
    pixels = read_image(image.read_bytes())  # (H, W, 3) float32 in [0, 1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    left.imshow(pixels)
    left.plot(verdict.peak_col, verdict.peak_row, "x", color="red")
    left.set_title(image.name)
    right.imshow(pixels)
    right.imshow(np.ma.masked_invalid(verdict.map), cmap="inferno", alpha=0.6)
    right.set_title(f"score {verdict.score:.2f}")
    for axes in (left, right):
        axes.axis("off")
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    main()
