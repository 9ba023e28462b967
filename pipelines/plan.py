"""What is to be done: which stages of which units are missing or stale, and in which waves they go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines.chunks import Chunk, View, chunks_of, features_key
from pipelines.config import Member, RunConfig
from pipelines.dataset import by_category
from pipelines.keys import DESCRIBED, Keys, described, fused_key, model_version, unit_keys
from pipelines.networks import Network
from pipelines.rundir import (
    AUDIT_FILE,
    TRAIN_FILE,
    adapter_name,
    bank_index_name,
    bank_name,
    fused_scores_file,
    maps_file,
    member_scores_file,
    model_folder,
)
from pipelines.storage import Store, side_by_side
from pipelines.tables import metadata_of, read_table
from pipelines.tensors import tensors_key
from pipelines.walk import Image
from reconpatch.model import MODEL_FILE

_T = TypeVar("_T")


@dataclass(frozen=True)
class Unit:
    """A (category, backbone) of the run, and what of it is to be done.

    Attributes:
        images: all images of the category that are scored, in order.
        fit_shards: shards of the fit images, where adapter or bank are to be made.
        score_shards: shards of the images that are to be scored; rows of others are kept as they are.
        fit, select, score: the stages that are due. Each brings those after it along.
    """

    category: str
    member: Member
    keys: Keys
    network: Network
    images: tuple[Image, ...]
    fit_shards: tuple[str, ...]
    score_shards: tuple[str, ...]
    fit: bool
    select: bool
    score: bool

    @property
    def backbone(self) -> str:
        """The member's."""
        return self.member.backbone

    @property
    def name(self) -> tuple[str, str]:
        """Category and backbone, by which tasks and records call it."""
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
        """Of the fit images' features under each other, while adapter and bank are made: float32 after an adapter."""
        if not self.select:
            return 0
        embedded = 4 * min(self.dim, self.network.channels)
        return self.fit_images * self.network.cells * max(2 * self.network.channels, embedded)


@dataclass(frozen=True)
class CategoryPlan:
    """A category's units, the chunks they need, and whether its fused scores are due.

    Attributes:
        fused_key: what its fused scores will depend on.
        scratch_bytes: of the features that have to exist at the same time.
    """

    category: str
    images: tuple[Image, ...]
    units: tuple[Unit, ...]
    chunks: tuple[Chunk, ...]
    fuse: bool
    fused_key: str
    scratch_bytes: int


def plans_of(
    categories: Sequence[str],
    images: Sequence[Image],
    config: RunConfig,
    networks: Mapping[str, Network],
    out: Store,
) -> list[CategoryPlan]:
    """`plan_category` of every category that has images, in the order of the categories."""
    found = by_category(images)
    return side_by_side(
        lambda category: plan_category(category, found[category], config, networks, out),
        [category for category in categories if category in found],
    )


def plan_category(
    category: str, images: Sequence[Image], config: RunConfig, networks: Mapping[str, Network], out: Store
) -> CategoryPlan:
    """Compare what a category's files say they were made from with what they would be made from now."""
    units, chunks, scratch_bytes = [], [], 0
    for member in config.members:
        network = networks[member.backbone]
        unit, wanted = _plan_unit(category, member, images, config, network, out)
        units.append(unit)
        chunks += wanted
        scratch_bytes += network.bytes_per_image * sum(len(chunk.images) for chunk in wanted) + unit.copied_bytes
    key = fused_key(config, [unit.keys.scores for unit in units], images)
    place = out.below(model_folder(category))
    fused = (
        metadata_of(out, fused_scores_file(category)).get("key") == key
        and place.exists(MODEL_FILE)
        and place.exists(TRAIN_FILE)
        and place.exists(AUDIT_FILE)
        and (not config.maps or metadata_of(out, maps_file(category)).get("key") == key)
        and not any(unit.score for unit in units)
    )
    return CategoryPlan(category, tuple(images), tuple(units), tuple(chunks), not fused, key, scratch_bytes)


def _plan_unit(
    category: str, member: Member, images: Sequence[Image], config: RunConfig, network: Network, out: Store
) -> tuple[Unit, list[Chunk]]:
    name = (category, member.backbone)
    view = View.of(member, config)
    keys = unit_keys(config, member, features_key(view, network.sha256, config), images)
    place = out.below(model_folder(category))
    fit = member.adapted and tensors_key(place, adapter_name(member.backbone)) != keys.adapter
    select = (
        fit
        or tensors_key(place, bank_name(member.backbone)) != keys.model
        or metadata_of(place, bank_index_name(member.backbone)).get("key") != keys.model
    )
    scored = metadata_of(out, member_scores_file(*name))
    score = select or scored.get("key") != keys.scores
    kept = set()
    if not select and score and scored.get("rows_key") == keys.rows:
        kept = kept_rows(out, *name)
    due = [image for image in images if described(image) not in kept] if score else []
    chunks = chunks_of(category, view, Store.of_data(config.data), due, network.sha256, config)
    shards = tuple(chunk.shard for chunk in chunks)
    fit_shards = tuple(chunk.shard for chunk in chunks if chunk.images[0].part == "fit") if select else ()
    unit = Unit(category, member, keys, network, tuple(images), fit_shards, shards, fit, select, score)
    return unit, chunks


def kept_rows(out: Store, category: str, backbone: str) -> set[tuple[Any, ...]]:
    """`DESCRIBED` of the rows that a member's scores hold already."""
    table = read_table(out, member_scores_file(category, backbone), list(DESCRIBED))
    return set(zip(*(table[name].to_pylist() for name in DESCRIBED), strict=True))


def cut_waves(items: Sequence[_T], sizes: Sequence[float], limit_bytes: float) -> list[list[_T]]:
    """Items in order, as many a wave as have room for their features; one that is larger goes alone."""
    waves: list[list[_T]] = []
    room = 0.0
    for item, size in zip(items, sizes, strict=True):
        if not waves or size > room:
            waves.append([])
            room = limit_bytes
        waves[-1].append(item)
        room -= size
    return waves


def version_of(plan: CategoryPlan, config: RunConfig) -> str:
    """The version of the model that a plan's images and options make."""
    return model_version(config, [unit.keys.model for unit in plan.units], plan.images)


def waves_of(plans: Sequence[CategoryPlan], config: RunConfig) -> list[list[CategoryPlan]]:
    """Categories whose features fit --scratch-gb together."""
    return cut_waves(plans, [plan.scratch_bytes for plan in plans], config.scratch_gb * 1e9)


def stored_story(out: Store, category: str) -> dict[str, Any] | None:
    """The metrics and warnings of fused scores that stand as they are."""
    story = metadata_of(out, fused_scores_file(category)).get("story")
    found: dict[str, Any] | None = None if story is None else json.loads(story)
    return found


def oversized(plans: Sequence[CategoryPlan], config: RunConfig) -> list[str]:
    """Sentences about categories whose features alone exceed --scratch-gb."""
    limit = config.scratch_gb * 1e9
    return [
        f"{plan.category}: its features take {plan.scratch_bytes / 1e9:.1f} GB of scratch, above --scratch-gb "
        f"{config.scratch_gb:g}; it goes alone."
        for plan in plans
        if plan.scratch_bytes > limit
    ]
