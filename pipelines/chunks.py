"""What the extraction is given: how a network looks at pictures, and the pictures it looks at in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipelines.config import Member, RunConfig
from pipelines.keys import key_of
from pipelines.rundir import shards_folder
from pipelines.storage import Store
from pipelines.walk import Image
from reconpatch.model import CODE_VERSION, MemberModel, Model


@dataclass(frozen=True)
class View:
    """How a network looks at a picture; with the weights, all that patch features depend on.

    Attributes:
        backbone, levels, patch_size, aggregation: see `pipelines.config.Member`.
        image_size, full_frame, bit_depth: how a picture becomes the network's input.
        chunk: images of a forward pass, the last one padded.
        pasted: whether each picture first gets one pasted defect, seeded by its contents.
    """

    backbone: str
    levels: tuple[int, ...]
    patch_size: int
    aggregation: str
    image_size: int
    full_frame: bool
    bit_depth: int
    chunk: int
    pasted: bool = False

    @classmethod
    def of(cls, member: Member | MemberModel, run: RunConfig | Model, *, pasted: bool = False) -> View:
        """That of a member, as a run is configured or a model was fitted."""
        return cls(
            member.backbone,
            member.levels,
            member.patch_size,
            member.aggregation,
            run.image_size,
            run.full_frame,
            run.bit_depth,
            run.chunk,
            pasted,
        )


@dataclass(frozen=True)
class Chunk:
    """At most `View.chunk` images of one category: a row of the extraction's stream.

    Attributes:
        source: the root that the images' paths are relative to.
        shard: the name of its feature shard in scratch.
        images: what is read, in this order.
    """

    category: str
    view: View
    source: Store
    shard: str
    images: tuple[Image, ...]


def features_key(view: View, weights_sha256: str, config: RunConfig) -> str:
    """Of all that an image's patch features depend on, but for the image."""
    return key_of(
        {
            **asdict(view),
            "weights": weights_sha256,
            "threads_per_unit": config.threads_per_unit,
            "device": config.device,
            "version": CODE_VERSION,
        }
    )


def chunks_of(
    category: str, view: View, source: Store, images: Sequence[Image], weights_sha256: str, config: RunConfig
) -> list[Chunk]:
    """Images in chunks, shards named by what is read and how: the same ones are extracted once."""
    key = features_key(view, weights_sha256, config)
    folder = f"{shards_folder(category)}/{view.backbone}"
    return [
        Chunk(category, view, source, f"{folder}/{_shard_key(key, group)}.arrow", group)
        for group in cut_chunks(images, view.chunk)
    ]


def cut_chunks(images: Sequence[Image], size: int) -> list[tuple[Image, ...]]:
    """Chunks of at most `size` images, fit images and others apart, in the order given.

    They never share a chunk: a model does not depend on which images are scored.
    """
    chunks: list[tuple[Image, ...]] = []
    for group in ([image for image in images if image.part == "fit"], [i for i in images if i.part != "fit"]):
        chunks += [tuple(group[start : start + size]) for start in range(0, len(group), size)]
    return chunks


def _shard_key(features: str, images: Sequence[Image]) -> str:
    return key_of([features, [(image.image_path, image.content_sha256) for image in images]])[:24]
