"""The jobs of a run: what of a member, of a category and of its fusion is due."""

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
    """A member (category, backbone) of the run, and what of it is due: a job of fit, select and score.

    Attributes:
        category: the category's name.
        member: the network and the recipe it is used with.
        keys: what its files depend on.
        network: where its weights came from and how large its features are.
        images: all images of the category that are scored, in order.
        fit_shards: shards of the fit images, where adapter or bank are to be made.
        score_shards: shards of the images that are to be scored; rows of others are kept as they are.
        fit: whether its adapter is due; select, score: whether its bank and its scores are. Each brings those after it
            along.
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
        """The member's network."""
        return self.member.backbone

    @property
    def size(self) -> int:
        """One member on the progress bar."""
        return 1

    @property
    def name(self) -> tuple[str, str]:
        """Category and backbone, by which queues and records call it."""
        return self.category, self.backbone

    @property
    def fit_images(self) -> int:
        """How many images it is fitted on: its weight in the queue."""
        return sum(image.part == "fit" for image in self.images)

    @property
    def dim(self) -> int:
        """D; 0 for the identity adapter."""
        if self.member.epochs:
            return self.member.dim
        return self.network.channels if self.member.adapted else 0

    @property
    def copied_bytes(self) -> int:
        """Scratch bytes of the fit images' features in one file, needed while adapter and bank are made."""
        if not self.select:
            return 0
        embedded = 4 * min(self.dim, self.network.channels)  # float32 after an adapter
        return self.fit_images * self.network.cells * max(2 * self.network.channels, embedded)


@dataclass(frozen=True, kw_only=True)
class FuseJob:
    """A category whose members' scores are to be fused.

    Attributes:
        model: the category's model; its statistics and threshold are computed anew.
        images: the scored images, in any order.
        key: of what comes out.
        maps: whether anomaly maps are written.
    """

    model: Model
    images: tuple[ImageRecord, ...]
    key: str
    maps: bool

    @property
    def category(self) -> str:
        """The model's category."""
        return self.model.category

    @property
    def backbone(self) -> None:
        """No member: the job is the whole category's."""
        return None

    @property
    def size(self) -> int:
        """One category on the progress bar."""
        return 1


@dataclass(frozen=True, kw_only=True)
class CategoryPlan:
    """What is due of a category.

    Attributes:
        category: the category's name.
        images: all of its images, in order.
        members: a job a member, due or not.
        batches: the images that have to be extracted for these jobs.
        fuse: the fusion, where it is due; None where the fused scores stand as they are.
        version: the version of the model that the images and options make.
        scratch_bytes: of the features that have to exist at the same time.
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
    """What fused scores carry in their file's metadata.

    Attributes:
        metrics: the category's rows of metrics.parquet.
        warnings: sentences of the fusion.
    """

    metrics: tuple[MetricsRow, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the text of the metadata."""
        return json.dumps(
            {"metrics": [row.row() for row in self.metrics], "warnings": self.warnings}, ensure_ascii=False
        )


def stored_summary(out: Store, category: str) -> FusedSummary:
    """Read the metrics and warnings of fused scores that stand as they are; empty where there are none."""
    metadata = metadata_of(out, fused_scores_file(category))
    text = metadata.get("summary", metadata.get("story"))  # the name of schema version 1
    if text is None:
        return FusedSummary()
    stored = json.loads(text)
    return FusedSummary(
        metrics=tuple(MetricsRow(**row) for row in stored["metrics"]), warnings=tuple(stored["warnings"])
    )
