"""A category with made-up scores of two members, for tests of what is computed from them."""

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
# No statistics have to be known of members whose scores are normalized already.
NORMALIZED = tuple(
    MemberModel(member.backbone, (2, 3), 3, "concat", 0, "", "", "", median=0.0, mad=1.0, beta=1.0, grid=GRID)
    for member in MODEL.members
)


def image(name: str, split: str = "train", part: str | None = None, label: int | None = 0) -> ImageRecord:
    """An image as large as the network's input."""
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
    """The scores of one member.

    Attributes:
        maps: (images, H, W) float32 patch scores.
        nearest: (images, H, W) entries of its bank.
        audits: an image.
    """

    maps: np.ndarray
    nearest: np.ndarray
    audits: list[Unexplained | None]


def random_scores(seed: int, images: Sequence[ImageRecord] = IMAGES) -> MadeUp:
    """Scores of a member, higher in defective images; good images are audited."""
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
    """Write where the entries of both banks came from: entry n from patch (n, 2 n) of image n, 100 more for `b`."""
    for more, backbone in zip((0, 100), BACKBONES, strict=True):
        rows = [
            {"category": "nut", "image_path": f"{more + entry}.png", "row": entry, "col": 2 * entry}
            for entry in range(ENTRIES)
        ]
        write_rows(folder, bank_index_name(backbone), rows, BANK_INDEX)


def write_scores(out: Store, members: Sequence[MadeUp], images: Sequence[ImageRecord] = IMAGES) -> None:
    """Write what the stages before the fusion leave in a run."""
    write_bank_indices(out.below(model_folder("nut")))
    for backbone, made_up in zip(BACKBONES, members, strict=True):
        write_table(out, member_scores_file("nut", backbone), _table(made_up, images))


def scored_images(folder: Store, members: Sequence[MadeUp], images: Sequence[ImageRecord] = IMAGES) -> ScoredImages:
    """Return the images under a model that takes scores as they are, whose bank indices are in a folder."""
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
