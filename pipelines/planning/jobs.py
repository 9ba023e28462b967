"""The jobs of a run: the work that is due for each member of a category and for the fusion of its scores."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.config.member import Member
from pipelines.config.networks import Network
from pipelines.data.records import ImageRecord
from pipelines.planning.batches import ImageBatch
from pipelines.planning.cache_keys import Keys
from pipelines.storage.parquet import metadata_of
from pipelines.storage.paths import fused_scores_file
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from reconpatch.detector.model import Model


@dataclass(frozen=True, kw_only=True)
class MemberJob:
    """A job of the stages fit, select and score: one member of one category.

    If a stage is due, the stages after it are due as well.

    Attributes:
        category: Name of the category.
        member: Backbone and its part of the recipe.
        keys: Cache keys of the member's files.
        network: Source of the backbone's weights and size of its features.
        images: All images of the category, in the order of the scored rows.
        fit_shards: Names of the feature shards of the fit images; empty if neither adapter nor bank is due.
        score_shards: Names of the feature shards of the images to score; the scored rows of other images are kept.
        fit: Whether the adapter is due.
        select: Whether the memory bank is due.
        score: Whether the scores are due.
    """

    category: str
    member: Member
    keys: Keys
    network: Network
    images: tuple[ImageRecord, ...]
    fit_shards: tuple[str, ...]
    score_shards: tuple[str, ...]
    fit: bool
    select: bool
    score: bool

    @property
    def backbone(self) -> str:
        """Name of the member's backbone."""
        return self.member.backbone

    @property
    def size(self) -> int:
        """Steps of the progress bar: one member."""
        return 1

    @property
    def name(self) -> tuple[str, str]:
        """Category and backbone, which identify the member in queues and in the run record."""
        return self.category, self.backbone

    @property
    def fit_images(self) -> int:
        """Number of fit images, which is the job's weight in the training queue."""
        return sum(image.part == "fit" for image in self.images)

    @property
    def dim(self) -> int:
        """Output dimension D of the adapter; 0 for the identity."""
        if self.member.epochs:
            return self.member.dim
        return self.network.channels if self.member.adapted else 0

    @property
    def copied_bytes(self) -> int:
        """Bytes of scratch space for one file with the features of all fit images.

        The file exists while the adapter is trained and the bank is selected; 0 if neither is due.
        """
        if not self.select:
            return 0
        embedded = 4 * min(self.dim, self.network.channels)  # float32 after an adapter
        return self.fit_images * self.network.cells * max(2 * self.network.channels, embedded)


@dataclass(frozen=True, kw_only=True)
class FuseJob:
    """A job of the fuse stage: one category.

    Attributes:
        model: The category's model; the job computes its score statistics and its threshold.
        images: The scored images, in any order.
        key: Cache key of the fused scores.
        maps: Whether anomaly maps are written.
    """

    model: Model
    images: tuple[ImageRecord, ...]
    key: str
    maps: bool

    @property
    def category(self) -> str:
        """Category of the model."""
        return self.model.category

    @property
    def backbone(self) -> None:
        """None, because the job covers all members of the category."""
        return None

    @property
    def size(self) -> int:
        """Steps of the progress bar: one category."""
        return 1


@dataclass(frozen=True, kw_only=True)
class CategoryPlan:
    """The jobs of a category.

    Attributes:
        category: Name of the category.
        images: All images of the category, in the order of the scored rows.
        members: One job per member, also if none of its stages is due.
        batches: Image batches whose features these jobs need.
        fuse: The fusion; None if the stored fused scores are up to date.
        version: Model version that these images and options produce.
        scratch_bytes: Bytes of scratch space for all features that exist at the same time.
    """

    category: str
    images: tuple[ImageRecord, ...]
    members: tuple[MemberJob, ...]
    batches: tuple[ImageBatch, ...]
    fuse: FuseJob | None
    version: str
    scratch_bytes: int


@dataclass(frozen=True, kw_only=True)
class FusedSummary:
    """Results of a fusion that are stored in the metadata of the file of fused scores.

    Attributes:
        metrics: Rows of metrics.parquet for the category.
        warnings: Warnings of the fusion, one sentence each.
    """

    metrics: tuple[MetricsRow, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the summary as JSON text for the metadata."""
        return json.dumps(
            {"metrics": [row.row() for row in self.metrics], "warnings": self.warnings}, ensure_ascii=False
        )


def stored_summary(out: Store, category: str) -> FusedSummary:
    """Return the summary that is stored with the fused scores of a category.

    Args:
        out: Run directory.
        category: Name of the category.

    Returns:
        The stored summary; an empty one if there are no fused scores or they have no summary.
    """
    metadata = metadata_of(out, fused_scores_file(category))
    text = metadata.get("summary", metadata.get("story"))  # "story" is its name in schema version 1
    if text is None:
        return FusedSummary()
    stored = json.loads(text)
    return FusedSummary(
        metrics=tuple(MetricsRow(**row) for row in stored["metrics"]), warnings=tuple(stored["warnings"])
    )
