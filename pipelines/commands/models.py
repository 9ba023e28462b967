"""`reconpatch-run models`: list, show, promote, roll back and prune the model versions of a registry."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipelines.data.folders import existing_folder
from pipelines.errors import UsageError
from pipelines.registry.registry import Registry
from pipelines.storage.lease import leased
from pipelines.tracking.console import Console


def list_models(console: Console, *, registry: str, categories: Sequence[str] = ()) -> int:
    """Print one row per model version, the newest first.

    Args:
        console: Console for the table and warnings.
        registry: Path or URI of the registry.
        categories: Categories to list; an empty sequence lists all.

    Returns:
        The exit code: 0, or 1 if the files of a category are damaged.

    Raises:
        UsageError: The registry holds no model.
    """
    models = _registry(registry)
    lines, code = [], 0
    for category in categories or models.categories():
        try:
            versions = models.versions(category)
        except UsageError as error:  # Damaged files of one category must not hide the other categories.
            console.warn(f"{category}: {error}")
            code = 1
            continue
        lines += [
            ["*" if version.current else "", category, version.name, version.status, version.created_at[:19]]
            for version in versions
        ]
    console.table(["", "category", "version", "acceptance test", "since (UTC)"], lines, names=5)
    return code


def show_model(console: Console, *, registry: str, category: str, version: str | None = None) -> int:
    """Print a model version, the result of its acceptance test and the history of its category as JSON.

    Args:
        console: Console for the JSON.
        registry: Path or URI of the registry.
        category: Category of the model.
        version: Name of the version; None shows the active version.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: The registry has no such version, or `version` is None and no version is active.
        ModelError: The file of the model is damaged.
    """
    models = _registry(registry)
    name = version or models.current(category)
    if name is None:
        raise UsageError(f"--category {category} has no active version. Give a version with --version.")
    model, ruling = models.model(category, name), models.ruling(category, name)
    shown = {
        "category": category,
        "version": name,
        "current": name == models.current(category),
        "members": [member.backbone for member in model.members],
        "image_size": model.image_size,
        "held_out_images": len(model.holdout_scores),
        "threshold": model.threshold,
        "false_alarm_bound": model.false_alarm_bound,
        "ruling": None if ruling is None else ruling.to_json(),
        "history": [event.to_json() for event in models.history(category)],
    }
    console.say(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


def promote_model(console: Console, *, registry: str, category: str, version: str) -> int:
    """Make a model version the active one, regardless of the result of its acceptance test.

    Args:
        console: Console for the result.
        registry: Path or URI of the registry.
        category: Category of the model.
        version: Name of the version.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: The registry has no such version, or another process uses it.
    """
    models = _registry(registry)
    with leased(models.store):
        models.promote(category, version, by_hand=True)
    console.say(f"{category}: {version} is active")
    return 0


def rollback_model(console: Console, *, registry: str, category: str) -> int:
    """Make the previously active model version the active one again.

    Args:
        console: Console for the result.
        registry: Path or URI of the registry.
        category: Category of the model.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: No other version was active before, or another process uses the registry.
    """
    models = _registry(registry)
    with leased(models.store):
        version = models.rollback(category)
    console.say(f"{category}: {version} is active again")
    return 0


def prune_models(console: Console, *, registry: str, categories: Sequence[str] = (), keep: int) -> int:
    """Remove old model versions, as `Registry.prune` does.

    Args:
        console: Console for the names of the removed versions.
        registry: Path or URI of the registry.
        categories: Categories to prune; an empty sequence prunes all.
        keep: Number of the newest versions to keep per category, counted separately for rejected versions and for all
            others. The active version and the one before it are always kept.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: The registry holds no model, or another process uses it.
    """
    models = _registry(registry)
    with leased(models.store):
        for category in categories or models.categories():
            for name in models.prune(category, keep):
                console.say(f"{category}: {name} was removed")
    return 0


def _registry(uri: str) -> Registry:
    """Return the registry; raise UsageError if it holds no model."""
    registry = Registry(existing_folder("--registry", uri))
    if not registry.categories():
        raise UsageError(f"--registry {uri} holds no model. Give the folder of a registry.")
    return registry
