"""Plan of a run: which jobs of each category are missing or out of date, and which categories run together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pipelines.config.member import Member
from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.data.split import by_category
from pipelines.planning.batches import FeatureSpec, ImageBatch, batches_of, features_key
from pipelines.planning.cache_keys import DESCRIBED, described, fused_key, member_keys, model_version
from pipelines.planning.jobs import CategoryPlan, FuseJob, MemberJob
from pipelines.storage.parquet import metadata_of, read_table
from pipelines.storage.paths import (
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
from pipelines.storage.store import Store, side_by_side
from pipelines.storage.tensors import tensors_key
from reconpatch.detector.model import CODE_VERSION, MODEL_FILE, MemberModel, Model

_T = TypeVar("_T")


def plan_categories(
    categories: Sequence[str], images: Sequence[ImageRecord], context: RunContext, networks: Mapping[str, Network]
) -> list[CategoryPlan]:
    """Plan every category that has images.

    Args:
        categories: Names of the categories of the run.
        images: Images of all categories, parts assigned.
        context: Configuration and stores of the run.
        networks: Name of each member's backbone -> properties of the backbone.

    Returns:
        One plan per category that has images, in the order of `categories`.
    """
    found = by_category(images)
    return side_by_side(
        lambda category: plan_category(category, found[category], context, networks),
        [category for category in categories if category in found],
    )


def plan_category(
    category: str, images: Sequence[ImageRecord], context: RunContext, networks: Mapping[str, Network]
) -> CategoryPlan:
    """Plan the jobs of a category from the cache keys of its stored files and of the current images and options.

    Args:
        category: Name of the category.
        images: All images of the category, parts assigned.
        context: Configuration and stores of the run.
        networks: Name of each member's backbone -> properties of the backbone.

    Returns:
        The plan, in which a job is due if its file is missing or has another key.
    """
    config = context.config
    planned = [
        _plan_member(category, images, context, member=member, network=networks[member.backbone])
        for member in config.members
    ]
    members = tuple(job for job, _ in planned)
    key = fused_key(config, [job.keys.scores for job in members], images)
    version = model_version(config, [job.keys.model for job in members], images)
    due = any(job.score for job in members) or not _is_fused(category, key, context)
    return CategoryPlan(
        category=category,
        images=tuple(images),
        members=members,
        batches=tuple(batch for _, batches in planned for batch in batches),
        fuse=FuseJob(model=new_model(members, config, version), images=tuple(images), key=key, maps=config.maps)
        if due
        else None,
        version=version,
        scratch_bytes=sum(
            job.copied_bytes + job.network.bytes_per_image * sum(batch.size for batch in batches)
            for job, batches in planned
        ),
    )


def _is_fused(category: str, key: str, context: RunContext) -> bool:
    """Return whether fused scores and maps have this key and the other files of the fusion exist."""
    out, folder = context.out, context.out.below(model_folder(category))
    return (
        metadata_of(out, fused_scores_file(category)).get("key") == key
        and all(folder.exists(name) for name in (MODEL_FILE, TRAIN_FILE, AUDIT_FILE))
        and (not context.config.maps or metadata_of(out, maps_file(category)).get("key") == key)
    )


def _plan_member(
    category: str, images: Sequence[ImageRecord], context: RunContext, *, member: Member, network: Network
) -> tuple[MemberJob, list[ImageBatch]]:
    """Return the job of a member and the image batches that it needs."""
    config, out = context.config, context.out
    spec = FeatureSpec.of(member, config)
    keys = member_keys(config, member, features_key(spec, network.sha256, config), images)
    folder = out.below(model_folder(category))
    fit = member.adapted and tensors_key(folder, adapter_name(member.backbone)) != keys.adapter
    select = (
        fit
        or tensors_key(folder, bank_name(member.backbone)) != keys.model
        or metadata_of(folder, bank_index_name(member.backbone)).get("key") != keys.model
    )
    scored = metadata_of(out, member_scores_file(category, member.backbone))
    score = select or scored.get("key") != keys.scores
    kept: set[tuple[Any, ...]] = set()
    if not select and score and scored.get("rows_key") == keys.rows:
        kept = kept_rows(out, category, member.backbone)
    due = [image for image in images if described(image) not in kept] if score else []
    batches = batches_of(due, spec, context.data, weights_sha256=network.sha256, config=config)
    job = MemberJob(
        category=category,
        member=member,
        keys=keys,
        network=network,
        images=tuple(images),
        fit_shards=tuple(batch.shard for batch in batches if batch.images[0].part == "fit") if select else (),
        score_shards=tuple(batch.shard for batch in batches),
        fit=fit,
        select=select,
        score=score,
    )
    return job, batches


def new_model(members: Sequence[MemberJob], config: RunConfig, version: str) -> Model:
    """Return the model of a category without score statistics and threshold, which the fusion adds.

    Args:
        members: Jobs of the category's members, at least one.
        config: Run configuration.
        version: Model version.

    Returns:
        The model.
    """
    return Model(
        category=members[0].category,
        version=version,
        members=tuple(
            MemberModel(
                backbone=job.backbone,
                layers=job.member.layers,
                patch_size=job.member.patch_size,
                aggregation=job.member.aggregation,
                dim=job.dim,
                weights=job.network.source,
                weights_sha256=job.network.sha256,
                key=job.keys.model,
            )
            for job in members
        ),
        image_size=config.image_size,
        full_frame=config.full_frame,
        bit_depth=config.bit_depth,
        chunk=config.chunk,
        fusion=config.fusion,
        score_neighbors=config.score_neighbors,
        false_alarms=config.false_alarms,
        code_version=CODE_VERSION,
    )


def kept_rows(out: Store, category: str, backbone: str) -> set[tuple[Any, ...]]:
    """Return the columns `DESCRIBED` of the rows that a member's file of scores has.

    Args:
        out: Run directory.
        category: Name of the category.
        backbone: Name of the member's backbone.

    Returns:
        One tuple per row.
    """
    table = read_table(out, member_scores_file(category, backbone), list(DESCRIBED))
    return set(zip(*(table[name].to_pylist() for name in DESCRIBED), strict=True))


def cut_waves(items: Sequence[_T], sizes: Sequence[float], limit_bytes: float) -> list[list[_T]]:
    """Cut items into waves that run one after the other, such that the sizes of a wave add up to at most a limit.

    Args:
        items: Items in the order in which they run.
        sizes: Size of each item in bytes.
        limit_bytes: Largest total size of a wave in bytes; an item above it gets a wave of its own.

    Returns:
        The waves, in the order of the items.
    """
    waves: list[list[_T]] = []
    room = 0.0
    for item, size in zip(items, sizes, strict=True):
        if not waves or size > room:
            waves.append([])
            room = limit_bytes
        waves[-1].append(item)
        room -= size
    return waves


def waves_of(plans: Sequence[CategoryPlan], config: RunConfig) -> list[list[CategoryPlan]]:
    """Group categories such that the features of a group fit into `--scratch-gb`.

    Args:
        plans: Plans of the categories, in the order in which they run.
        config: Run configuration.

    Returns:
        The groups, in the order of the plans.
    """
    return cut_waves(plans, [plan.scratch_bytes for plan in plans], config.scratch_gb * 1e9)


def oversized(plans: Sequence[CategoryPlan], config: RunConfig) -> list[str]:
    """Return a warning for each category whose features exceed `--scratch-gb`.

    Args:
        plans: Plans of the categories.
        config: Run configuration.

    Returns:
        One sentence per such category.
    """
    limit = config.scratch_gb * 1e9
    return [
        f"{plan.category}: its features need {plan.scratch_bytes / 1e9:.1f} GB of scratch space, more than "
        f"--scratch-gb {config.scratch_gb:g}; the category runs alone."
        for plan in plans
        if plan.scratch_bytes > limit
    ]
