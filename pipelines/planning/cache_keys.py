"""What depends on what: SHA-256 keys that stand in the metadata of everything a run writes.

Each key is the hash of canonical JSON of the key before it and of what its own stage adds, so a changed option or
image redoes exactly what comes after it:

    features  image size, crop, bit depth, layers, s, aggregation, weights, chunk, threads, device
    adapter   features, the fit images, initialization, D, epochs, steps, lr, σ, k, α, m, γ, N, images a batch, seed
              (and which images are held out)
    model     adapter, the bank's share
    rows      model, b                          (a row of one image; new images need no other rows)
    scores    rows, the scored images with their split, defect and label
    fused     the members' scores, fusion, the target false-positive rate, the masks
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config.member import Member
from pipelines.config.run_config import RunConfig
from pipelines.data.records import ImageRecord
from reconpatch.detector.model import CODE_VERSION

# What a field is called in a key, where its name has changed since.
_KEY_NAMES = {"init": "start", "contrastive_neighbors": "neighbours", "layers": "levels"}
DESCRIBED = ("image_path", "content_sha256", "split", "defect", "label")


@dataclass(frozen=True)
class Keys:
    """The keys of a member (category, backbone); see the module's table."""

    features: str
    adapter: str
    model: str
    rows: str
    scores: str


def member_keys(config: RunConfig, member: Member, features: str, images: Sequence[ImageRecord]) -> Keys:
    """Return the keys of a member on a category's images; neither their order nor the number of workers matters.

    Args:
        config: of the run.
        member: the network and its recipe.
        features: the key of the member's features (`pipelines.planning.batches.features_key`).
        images: of the category, parts assigned.
    """
    training = key_fields(config.adapter_config(member)) if member.adapted else "identity"
    adapter = key_of([features, training, _contents(image for image in images if image.part == "fit")])
    model = key_of([adapter, member.coreset])
    rows = key_of([model, config.score_neighbors])
    scores = key_of([rows, _contents(images), sorted(described(image) for image in images)])
    return Keys(features, adapter, model, rows, scores)


def fused_key(config: RunConfig, scores: Sequence[str], images: Sequence[ImageRecord]) -> str:
    """Return the key of a category's fused scores, verdicts and metrics; the order of the members matters."""
    masks = sorted((image.image_path, image.mask_sha256) for image in images if image.mask_sha256 is not None)
    return key_of([list(scores), config.fusion, config.false_alarms, masks, CODE_VERSION])


def model_version(config: RunConfig, models: Sequence[str], images: Sequence[ImageRecord]) -> str:
    """Return the name of a category's model in every row that it scores.

    It depends on its members, the reweighting, the fusion, and all of its good images, since those that were held out
    make its p-values and threshold.
    """
    good = _contents(image for image in images if image.split == "train")
    return key_of([list(models), config.score_neighbors, config.fusion, good, CODE_VERSION])[:12]


def described(image: ImageRecord) -> tuple[Any, ...]:
    """Return what a scored row says of its image: the columns `DESCRIBED`. In a list of images it may change alone."""
    return tuple(getattr(image, name) for name in DESCRIBED)


def key_fields(settings: Any) -> dict[str, Any]:
    """Return a dataclass's fields as they enter a key.

    They have the names and values of the time when keys were first written, so that renaming a field retrains nothing.
    """
    fields = {_KEY_NAMES.get(name, name): value for name, value in asdict(settings).items()}
    if fields.get("start") == "neighbors":
        fields["start"] = "neighbours"
    return fields


def key_of(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _contents(images: Iterable[ImageRecord]) -> list[tuple[str, str | None, str | None]]:
    return sorted((image.image_path, image.content_sha256, image.part) for image in images)
