"""What the extraction is given: how a network looks at images, and the images it looks at in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.config.member import Member
from pipelines.config.run_config import RunConfig
from pipelines.data.records import ImageRecord
from pipelines.planning.cache_keys import key_fields, key_of
from pipelines.storage.paths import shards_folder
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """How a network looks at an image; with the weights, all that patch features depend on.

    Attributes:
        backbone, layers, patch_size, aggregation: see `pipelines.config.member.Member`.
        image_size, full_frame, bit_depth: how an image becomes the network's input.
        chunk: images of a forward pass, the last one padded.
        pasted: whether each image first gets one synthetic defect, seeded by its contents.
    """

    backbone: str
    layers: tuple[int, ...]
    patch_size: int
    aggregation: str
    image_size: int
    full_frame: bool
    bit_depth: int
    chunk: int
    pasted: bool = False

    @classmethod
    def of(cls, member: Member | MemberModel, recipe: RunConfig | Model, *, pasted: bool = False) -> FeatureSpec:
        """Return the specification of a member, as a run is configured or a model was fitted.

        Args:
            member: whose network it is.
            recipe: of the run, or the stored model.
            pasted: whether images get a synthetic defect.
        """
        return cls(
            backbone=member.backbone,
            layers=member.layers,
            patch_size=member.patch_size,
            aggregation=member.aggregation,
            image_size=recipe.image_size,
            full_frame=recipe.full_frame,
            bit_depth=recipe.bit_depth,
            chunk=recipe.chunk,
            pasted=pasted,
        )

    @property
    def network(self) -> tuple[str, tuple[int, ...], int]:
        """What a loaded network depends on: backbone, layers and input size."""
        return self.backbone, self.layers, self.image_size


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """At most `FeatureSpec.chunk` images of one category: a job of the extraction.

    Attributes:
        category: the images' category.
        spec: how they are looked at.
        source: the root that the images' paths are relative to.
        shard: the name of the feature shard in scratch that comes of it.
        images: what is read, in this order.
    """

    category: str
    spec: FeatureSpec
    source: Store
    shard: str
    images: tuple[ImageRecord, ...]

    @property
    def backbone(self) -> str:
        """The network's name."""
        return self.spec.backbone

    @property
    def size(self) -> int:
        """How many images the batch has."""
        return len(self.images)


def features_key(spec: FeatureSpec, weights_sha256: str, config: RunConfig) -> str:
    """Return the key of all that an image's patch features depend on, except the image.

    Args:
        spec: how the image is looked at.
        weights_sha256: digest of the network's weights.
        config: of the run, for threads and device.
    """
    return key_of(
        {
            **key_fields(spec),
            "weights": weights_sha256,
            "threads_per_unit": config.threads_per_unit,
            "device": config.device,
            "version": CODE_VERSION,
        }
    )


def batches_of(
    images: Sequence[ImageRecord], spec: FeatureSpec, source: Store, *, weights_sha256: str, config: RunConfig
) -> list[ImageBatch]:
    """Cut a category's images into batches; shards are named by what is read and how, so that none is extracted twice.

    Args:
        images: of one category.
        spec: how they are looked at.
        source: the root that their paths are relative to.
        weights_sha256: digest of the network's weights.
        config: of the run.
    """
    key = features_key(spec, weights_sha256, config)
    return [
        ImageBatch(
            category=group[0].category,
            spec=spec,
            source=source,
            shard=f"{shards_folder(group[0].category)}/{spec.backbone}/{_shard_key(key, group)}.arrow",
            images=group,
        )
        for group in cut_batches(images, spec.chunk)
    ]


def cut_batches(images: Sequence[ImageRecord], size: int) -> list[tuple[ImageRecord, ...]]:
    """Cut images into groups of at most `size`, in the order given, fit images and others apart.

    They never share a batch: a model does not depend on which images are scored.
    """
    fit = [image for image in images if image.part == "fit"]
    rest = [image for image in images if image.part != "fit"]
    return [tuple(group[start : start + size]) for group in (fit, rest) for start in range(0, len(group), size)]


def _shard_key(features: str, images: Sequence[ImageRecord]) -> str:
    return key_of([features, [(image.image_path, image.content_sha256) for image in images]])[:24]
