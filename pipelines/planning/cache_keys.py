"""Cache keys: SHA-256 digests of the inputs of each stage, stored in the metadata of every file that a run writes.

Each key is the hash of the canonical JSON of the previous key and of the inputs that its stage adds. A changed option
or image therefore repeats only the stages that depend on it:

    features  image size, crop, bit depth, layers, s, aggregation, weights, chunk, threads, device
    adapter   features, the fit images, initialization, D, epochs, steps, lr, σ, k, α, m, γ, N, images per batch, seed
              (the fit images depend on which images are held out)
    model     adapter, coreset share
    rows      model, b                          (of a single row; rows of unchanged images stay valid)
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

# Field name -> the name that enters the keys. The old names stay there, so that renaming a field changes no key.
_KEY_NAMES = {"init": "start", "contrastive_neighbors": "neighbours", "layers": "levels"}
# Version of the rule for which pixels of a mask are defective. When it changes, pixel metrics are computed again.
_MASK_RULE = 2
DESCRIBED = ("image_path", "content_sha256", "split", "defect", "label")


@dataclass(frozen=True)
class Keys:
    """Cache keys of a member of a category, each 64 hexadecimal digits. The module's docstring lists their inputs.

    Attributes:
        features: Key of the patch features, without the images.
        adapter: Key of the trained adapter.
        model: Key of the adapter and the memory bank.
        rows: Key of each scored row, without its image.
        scores: Key of the file of all scored rows.
    """

    features: str
    adapter: str
    model: str
    rows: str
    scores: str


def member_keys(config: RunConfig, member: Member, features: str, images: Sequence[ImageRecord]) -> Keys:
    """Return the cache keys of a member for the images of a category.

    The keys depend neither on the order of the images nor on the number of workers.

    Args:
        config: Run configuration.
        member: Backbone and its part of the recipe.
        features: Cache key of the member's features (`pipelines.planning.batches.features_key`).
        images: All images of the category, parts assigned.

    Returns:
        The keys.
    """
    training = key_fields(config.adapter_config(member)) if member.adapted else "identity"
    adapter = key_of([features, training, _contents(image for image in images if image.part == "fit")])
    model = key_of([adapter, member.coreset])
    rows = key_of([model, config.score_neighbors])
    scores = key_of([rows, _contents(images), sorted(described(image) for image in images)])
    return Keys(features, adapter, model, rows, scores)


def fused_key(config: RunConfig, scores: Sequence[str], images: Sequence[ImageRecord]) -> str:
    """Return the cache key of a category's fused scores, verdicts and metrics.

    Args:
        config: Run configuration.
        scores: `Keys.scores` of each member, in the order of the members, which enters the key.
        images: All images of the category, with the digests of their masks.

    Returns:
        The key, 64 hexadecimal digits.
    """
    masks = sorted((image.image_path, image.mask_sha256) for image in images if image.mask_sha256 is not None)
    read_by = [_MASK_RULE] if masks else []  # Without masks, the key is the same as before the rule had versions.
    return key_of([list(scores), config.fusion, config.false_alarms, masks, CODE_VERSION, *read_by])


def model_version(config: RunConfig, models: Sequence[str], images: Sequence[ImageRecord]) -> str:
    """Return the model version that is written into every row that the model scores.

    It depends on the members, the reweighting, the fusion and all good training images, because the calibration images
    determine the p-values and the threshold.

    Args:
        config: Run configuration.
        models: `Keys.model` of each member, in the order of the members.
        images: All images of the category, parts assigned.

    Returns:
        The version, 12 hexadecimal digits.
    """
    good = _contents(image for image in images if image.makes_model)
    return key_of([list(models), config.score_neighbors, config.fusion, good, CODE_VERSION])[:12]


def described(image: ImageRecord) -> tuple[Any, ...]:
    """Return the columns `DESCRIBED` of an image, which its scored row repeats.

    In a list of images, split, defect and label can change while the file stays the same; the row is then out of date.

    Args:
        image: Image with its content digest.

    Returns:
        One value per name in `DESCRIBED`.
    """
    return tuple(getattr(image, name) for name in DESCRIBED)


def key_fields(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass under the names and values that enter a cache key.

    These are the names and values from when keys were first written, so that renaming a field retrains nothing.

    Args:
        settings: Dataclass instance with values that JSON can represent.

    Returns:
        Name in the key -> value.
    """
    fields = {_KEY_NAMES.get(name, name): value for name, value in asdict(settings).items()}
    if fields.get("start") == "neighbors":
        fields["start"] = "neighbours"
    return fields


def key_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value.

    Args:
        value: Value that JSON can represent.

    Returns:
        64 hexadecimal digits.
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _contents(images: Iterable[ImageRecord]) -> list[tuple[str, str | None, str | None]]:
    """Return path, content digest and part of each image, sorted."""
    return sorted((image.image_path, image.content_sha256, image.part) for image in images)
