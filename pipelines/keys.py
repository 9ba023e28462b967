"""What depends on what: SHA-256 keys that stand in the metadata of everything a run writes.

Each key is the hash of canonical JSON of the key before it and of what its own stage adds, so a changed option or
picture redoes exactly what comes after it:

    features  image size, crop, bit depth, levels, s, aggregation, weights, chunk, threads, device
    adapter   features, the fit images, start, D, epochs, steps, lr, σ, k, α, m, γ, N, images a batch, seed (and who is
              held out)
    model     adapter, the bank's share
    rows      model, b                          (a row of one image; new images need no other rows)
    scores    rows, the scored images and what is said of them: split, defect, label
    fused     the members' scores, fusion, the wished false-alarm rate, the masks
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.config import Member, RunConfig
from pipelines.walk import Image
from reconpatch.model import CODE_VERSION

DESCRIBED = ("image_path", "content_sha256", "split", "defect", "label")


@dataclass(frozen=True)
class Keys:
    """The keys of a (category, backbone) unit; see the module's table."""

    features: str
    adapter: str
    model: str
    rows: str
    scores: str


def unit_keys(config: RunConfig, member: Member, features: str, images: Sequence[Image]) -> Keys:
    """The keys of a member on a category's images; neither their order nor the number of workers matters.

    Args:
        features: the key of the member's features (`pipelines.chunks.features_key`).
    """
    training = asdict(config.adapter_config(member)) if member.adapted else "identity"
    adapter = key_of([features, training, _contents(image for image in images if image.part == "fit")])
    model = key_of([adapter, member.coreset])
    rows = key_of([model, config.reweight])
    scores = key_of([rows, _contents(images), sorted(described(image) for image in images)])
    return Keys(features, adapter, model, rows, scores)


def fused_key(config: RunConfig, scores: Sequence[str], images: Sequence[Image]) -> str:
    """The key of a category's fused scores, verdicts and metrics; the members' order is theirs."""
    masks = sorted((image.image_path, image.mask_sha256) for image in images if image.mask_sha256 is not None)
    return key_of([list(scores), config.fusion, config.false_alarms, masks, CODE_VERSION])


def model_version(config: RunConfig, models: Sequence[str], images: Sequence[Image]) -> str:
    """The name of a category's model in every row that it scores: its members, the reweighting, the fusion, and all of
    its good images, since those that were held out make its p-values and thresholds."""
    good = _contents(image for image in images if image.split == "train")
    return key_of([list(models), config.reweight, config.fusion, good, CODE_VERSION])[:12]


def described(image: Image) -> tuple[Any, ...]:
    """What a scored row tells of its image: `DESCRIBED`'s columns. Where the images are listed, it may change alone."""
    return tuple(getattr(image, name) for name in DESCRIBED)


def key_of(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _contents(images: Iterable[Image]) -> list[tuple[str, str | None, str | None]]:
    return sorted((image.image_path, image.content_sha256, image.part) for image in images)
