"""The method step by step on arrays, without Ray and without files: patch features, adapter, memory bank, scores.

    python examples/method_on_arrays.py

Each step is one function of `reconpatch`. NumPy arrays and torch tensors work alike.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from solar_cells import CATEGORY, link_solar_cells

from reconpatch import (
    AdapterConfig,
    Backbone,
    Geometry,
    MemoryBank,
    anomaly_map,
    conformal_threshold,
    image_metrics,
    load_backbone,
    patch_features,
    preprocess,
    read_image,
    select_coreset,
    train_adapter,
)

IMAGE_SIZE = 224  # Side S of the backbone's input, in pixels.


def main() -> None:
    """Learn from 60 good cells, calibrate on 20, and score 15 good and 15 defective cells."""
    with tempfile.TemporaryDirectory() as folder:
        root = link_solar_cells(Path(folder), train=80, test=15) / CATEGORY
        training = sorted((root / "train" / "good").iterdir())
        tests = [*sorted((root / "test" / "good").iterdir()), *sorted((root / "test" / "defect").iterdir())]
        backbone = load_backbone("tf_efficientnet_lite0", layers=(2, 3), image_size=IMAGE_SIZE)
        features = np.stack([features_of(path, backbone) for path in training])  # (80, P, C')
        test_features = np.stack([features_of(path, backbone) for path in tests])  # (30, P, C')
    labels = np.array([0] * 15 + [1] * 15)
    fitted, calibration = features[:60], features[60:]
    per_image = features.shape[1]  # P patches in an image.
    side = round(per_image**0.5)
    print(f"patch features   {features.shape[1]} patches of {features.shape[2]} channels in each image")

    patches = fitted.reshape(-1, features.shape[2])
    config = AdapterConfig(dim=256, epochs=1, lr=1e-3, batch_images=4)  # The default for small backbones.
    adapter = train_adapter(patches, config, per_image=per_image)  # Equations 1 to 8.
    embedded = patches @ adapter.weight.T
    print(f"adapter          loss {adapter.losses[0]:.4f} at the first step, {adapter.losses[-1]:.4f} at the last")

    coreset = select_coreset(embedded, ratio=0.02)
    bank = MemoryBank(embedded[coreset.indices], n_neighbors=9)
    print(
        f"memory bank      {len(coreset.indices)} of {len(embedded)} patches; the rest is within {coreset.radius:.2f}"
    )

    def scores_of(images: np.ndarray) -> np.ndarray:
        """Return the patch scores (equation 10) of images, (B, P)."""
        return np.stack([bank.score(image @ adapter.weight.T) for image in images])

    test_scores = scores_of(test_features)
    image_scores = test_scores.max(axis=1)
    metrics = image_metrics(image_scores, labels)
    print(f"image AUROC      {metrics.auroc:.3f} on {len(labels)} test images")

    threshold = conformal_threshold(scores_of(calibration).max(axis=1), false_alarms=0.1)
    assert threshold is not None  # It is None only without calibration images.
    flagged = image_scores > threshold.value
    print(
        f"threshold        {threshold.value:.3f}, false-positive rate at most {threshold.false_alarm_bound:.2f}; "
        f"flagged: {flagged[labels == 1].sum()} of 15 defective, {flagged[labels == 0].sum()} of 15 good"
    )

    heat = anomaly_map(test_scores[image_scores.argmax()].reshape(side, side), size=IMAGE_SIZE)
    row, col = np.unravel_index(heat.argmax(), heat.shape)
    print(f"anomaly map      {heat.shape[0]} x {heat.shape[1]} pixels; its maximum is at row {row}, column {col}")


def features_of(path: Path, backbone: Backbone) -> np.ndarray:
    """Return the patch features of an image file, (P, C') float32."""
    image = read_image(path.read_bytes())  # (H, W, 3) float32 in [0, 1]
    geometry = Geometry.of(image.shape[0], image.shape[1], IMAGE_SIZE, full_frame=True)
    network_input = preprocess(image, geometry)  # (3, S, S)
    with torch.inference_mode():
        maps = backbone.level_maps(network_input[None])
        features: np.ndarray = patch_features(maps, patch_size=3, aggregation="concat")[0].numpy()
    return features


if __name__ == "__main__":
    main()
