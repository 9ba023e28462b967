"""A category with random scores of two members, as input for tests of the fusion and the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from pipelines.data.records import ImageRecord
from pipelines.stages.explain import ScoredImages
from pipelines.stages.member_scores import ShardScores, as_member_scores, member_table
from pipelines.storage.parquet import write_rows, write_table
from pipelines.storage.paths import bank_index_name, member_scores_file, model_folder
from pipelines.storage.schemas import BANK_INDEX, Provenance
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model, predict
from reconpatch.evaluation.outliers import Unexplained

BACKBONES = ("a", "b")
GRID = (2, 3)
SIDE = 96
ENTRIES = 5
PROVENANCE = Provenance("ab" * 16, datetime(2026, 1, 1, tzinfo=UTC))
MODEL = Model(
    "nut",
    "v1",
    tuple(MemberModel(backbone, (2, 3), 3, "concat", 0, "package", "ab" * 32, "cd" * 32) for backbone in BACKBONES),
    SIDE,
    True,
    16,
    16,
    "patch",
    1,
    0.25,
    CODE_VERSION,
)
# Members with median 0, MAD 1 and beta 1, which leave scores unchanged when they are normalized.
NORMALIZED = tuple(
    MemberModel(member.backbone, (2, 3), 3, "concat", 0, "", "", "", median=0.0, mad=1.0, beta=1.0, grid=GRID)
    for member in MODEL.members
)


def image(name: str, split: str = "train", part: str | None = None, label: int | None = 0) -> ImageRecord:
    """Return an image record with the size of the backbone's input."""
    path, defect = f"nut/{split}/{name}.png", "bent" if label else "good"
    return ImageRecord(
        "nut", split, defect, path, label=label, part=part, width=SIDE, height=SIDE, content_sha256=f"{name:0>64}"
    )


IMAGES = (
    *(image(f"fit{number}", part="fit") for number in range(4)),
    *(image(f"held{number}", part="holdout") for number in range(3)),
    *(image(f"whole{number}", "test") for number in range(2)),
    *(image(f"bent{number}", "test", label=1) for number in range(2)),
)


@dataclass(frozen=True)
class MadeUp:
    """Scores of B images by one member.

    Attributes:
        maps: (B, H, W) float32 patch scores.
        nearest: (B, H, W) int64 bank entries that the patches were compared with.
        audits: One audit per image; None for images that are not audited.
    """

    maps: np.ndarray
    nearest: np.ndarray
    audits: list[Unexplained | None]


def random_scores(seed: int, images: Sequence[ImageRecord] = IMAGES) -> MadeUp:
    """Return random scores that are three times as high for defective images, with audits of the training images."""
    generator = np.random.default_rng(seed)
    maps = generator.gamma(4.0, 1.0 + seed, (len(images), *GRID)).astype(np.float32)
    maps[[number for number, image in enumerate(images) if image.label]] *= 3
    audits = [
        Unexplained(float(generator.normal(10, 1)), int(generator.integers(6)), int(generator.integers(ENTRIES)))
        if image.split == "train"
        else None
        for image in images
    ]
    return MadeUp(maps, generator.integers(0, ENTRIES, maps.shape), audits)


def write_bank_indices(folder: Store) -> None:
    """Write both bank indices: entry n is patch (n, 2 n) of image n.png for member `a`, of n + 100.png for `b`."""
    for more, backbone in zip((0, 100), BACKBONES, strict=True):
        rows = [
            {"category": "nut", "image_path": f"{more + entry}.png", "row": entry, "col": 2 * entry}
            for entry in range(ENTRIES)
        ]
        write_rows(folder, bank_index_name(backbone), rows, BANK_INDEX)


def write_scores(out: Store, members: Sequence[MadeUp], images: Sequence[ImageRecord] = IMAGES) -> None:
    """Write the files that the fusion reads: the bank indices and the members' scores."""
    write_bank_indices(out.below(model_folder("nut")))
    for backbone, made_up in zip(BACKBONES, members, strict=True):
        write_table(out, member_scores_file("nut", backbone), _table(made_up, images))


def scored_images(folder: Store, members: Sequence[MadeUp], images: Sequence[ImageRecord] = IMAGES) -> ScoredImages:
    """Return the images with a model that leaves scores unchanged; write its bank indices into a folder."""
    write_bank_indices(folder)
    scores = [as_member_scores(_table(made_up, images)) for made_up in members]
    model = Model("nut", "v1", NORMALIZED, SIDE, True, 16, 16, "patch", 1, 0.25, CODE_VERSION)
    return ScoredImages(
        stored=StoredModel(model, folder),
        images=images,
        members=scores,
        prediction=predict(model, [member.maps for member in scores]),
    )


def _table(made_up: MadeUp, images: Sequence[ImageRecord]) -> pa.Table:
    scores, nearest = (list(array.reshape(len(images), -1)) for array in (made_up.maps, made_up.nearest))
    return member_table(images, ShardScores(scores, nearest, made_up.audits), GRID, PROVENANCE.columns("rows"))
