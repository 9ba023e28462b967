"""Train and test anomalib's Patchcore on one category with anomalib's own Engine.

python -m benchmarks.jobs.anomalib_job CATEGORY OUT THREADS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import Patchcore
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize, Resize

from reconpatch.features.backbones import load_backbone

_BACKBONE = "tf_efficientnet_lite0"
_LAYERS = ("blocks.2", "blocks.4")  # timm's names for layers 2 and 3
_BATCH = 16


def main(category: Path, out: Path, threads: int) -> None:
    """Train and test Patchcore, and print its metrics.

    Args:
        category: Folder of one category in MVTec AD's layout.
        out: Folder for anomalib's files.
        threads: Number of torch threads.
    """
    torch.set_num_threads(threads)
    ours = load_backbone(_BACKBONE, (2, 3, 4))  # includes the last block, because anomalib's backbone has it, too
    normalize = Normalize(mean=list(ours.mean), std=list(ours.std))
    transform = Compose([Resize((256, 256), antialias=True), CenterCrop((224, 224)), normalize])
    model: Any = Patchcore(
        backbone=_BACKBONE,
        layers=_LAYERS,
        pre_trained=False,
        coreset_sampling_ratio=0.01,
        num_neighbors=9,
        pre_processor=PreProcessor(transform=transform),
        visualizer=False,
    )
    network: Any = ours.network
    model.model.feature_extractor.feature_extractor.load_state_dict(network.state_dict())
    defects = sorted(path.name for path in (category / "test").iterdir() if path.name != "good")
    masks = [f"ground_truth/{name}" for name in defects if (category / "ground_truth" / name).is_dir()]
    images = Folder(
        name=category.name,
        root=category,
        normal_dir="train/good",
        abnormal_dir=[f"test/{name}" for name in defects],
        normal_test_dir="test/good",
        mask_dir=masks or None,
        train_batch_size=_BATCH,
        eval_batch_size=_BATCH,
        num_workers=1,
        val_split_mode="same_as_test",  # as in anomalib's MVTec AD data module
    )
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=out, enable_progress_bar=False)
    engine.fit(model=model, datamodule=images)
    print(engine.test(model=model, datamodule=images))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
