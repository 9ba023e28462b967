"""Input of the feature extraction: the settings of a backbone and the image batches of its forward passes."""

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
    """The settings with which a backbone computes patch features.

    Together with the weights, the device and the number of threads, they determine the features of an image.

    Attributes:
        backbone: Name of the backbone in timm.
        layers: Layers whose feature maps are used, as timm's out_indices.
        patch_size: Side of the averaging window in cells of the feature map, odd.
        aggregation: How the layers are combined into one patch feature, 'patchcore' or 'concat'.
        image_size: Side of the backbone's input in pixels.
        full_frame: Whether the whole image is resized; False for a center crop.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).
        chunk: Number of images in a forward pass; the last batch is padded to this number.
        pasted: Whether a synthetic defect, seeded by the file's contents, is pasted into each image first.
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
        """Return the feature specification of a member of a run or of a stored model.

        Args:
            member: Member that provides the backbone, the layers, the patch size and the aggregation.
            recipe: Run configuration or stored model that provides the image settings and the chunk.
            pasted: Whether a synthetic defect is pasted into each image.

        Returns:
            The specification.
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
        """Backbone, layers and input size: the settings that a loaded backbone depends on."""
        return self.backbone, self.layers, self.image_size


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """A job of the extract stage: at most `FeatureSpec.chunk` images of one category.

    Attributes:
        category: Category of the images.
        spec: Settings of the feature extraction.
        source: Store that the image paths are relative to.
        shard: Name of the feature shard that the job writes to scratch space.
        images: Images of the batch, in the order of the shard's rows.
    """

    category: str
    spec: FeatureSpec
    source: Store
    shard: str
    images: tuple[ImageRecord, ...]

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return self.spec.backbone

    @property
    def size(self) -> int:
        """Number of images in the batch."""
        return len(self.images)


def features_key(spec: FeatureSpec, weights_sha256: str, config: RunConfig) -> str:
    """Return the cache key of patch features: everything they depend on except the image.

    Args:
        spec: Settings of the feature extraction.
        weights_sha256: SHA-256 of the backbone's weights, in hex.
        config: Run configuration, which provides the number of threads and the device.

    Returns:
        The key, 64 hexadecimal digits.
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
    """Cut the images of one category into batches.

    The name of a shard is derived from the feature settings and from the images' paths and contents, so that equal
    batches share a shard and are extracted once.

    Args:
        images: Images of one category, parts assigned.
        spec: Settings of the feature extraction.
        source: Store that the image paths are relative to.
        weights_sha256: SHA-256 of the backbone's weights, in hex.
        config: Run configuration, which provides the number of threads and the device.

    Returns:
        The batches: first those of the fit images, then those of the other images.
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
    """Cut images into groups, in the given order.

    Fit images and other images never share a group, so that a model does not depend on which images are scored.

    Args:
        images: Images of one category, parts assigned.
        size: Largest number of images in a group, at least 1.

    Returns:
        The groups of fit images, then the groups of the other images.
    """
    fit = [image for image in images if image.part == "fit"]
    rest = [image for image in images if image.part != "fit"]
    return [tuple(group[start : start + size]) for group in (fit, rest) for start in range(0, len(group), size)]


def _shard_key(features: str, images: Sequence[ImageRecord]) -> str:
    """Return the part of a shard's name that identifies its images and feature settings."""
    return key_of([features, [(image.image_path, image.content_sha256) for image in images]])[:24]
