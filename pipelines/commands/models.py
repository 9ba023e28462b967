"""`reconpatch-run models`: the model versions in a registry, and which of them are active."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipelines.errors import UsageError
from pipelines.registry.registry import Registry
from pipelines.storage.lease import leased
from pipelines.storage.store import Store
from pipelines.tracking.console import Console


def list_models(console: Console, *, registry: str, categories: Sequence[str] = ()) -> int:
    """Print a row a version, newest first.

    Args:
        console: for the table.
        registry: its path or URI.
        categories: to list; all by default.

    Returns:
        The exit code: 1 where a category's files are damaged.

    Raises:
        UsageError: the registry holds no model.
    """
    models = _registry(registry)
    lines, code = [], 0
    for category in categories or models.categories():
        try:
            versions = models.versions(category)
        except UsageError as error:  # damaged files of one category must not hide the others
            console.warn(f"{category}: {error}")
            code = 1
            continue
        lines += [
            ["*" if version.current else "", category, version.name, version.status, version.created_at[:19]]
            for version in versions
        ]
    console.table(["", "category", "version", "acceptance test", "since (UTC)"], lines)
    return code


def show_model(console: Console, *, registry: str, category: str, version: str | None = None) -> int:
    """Print a version's model, its acceptance test and the category's history as JSON.

    Args:
        console: for the JSON.
        registry: its path or URI.
        category: of the model.
        version: its name; the active one by default.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the registry has no such version.
        ModelError: the model's file is damaged.
    """
    models = _registry(registry)
    name = version or models.current(category)
    if name is None:
        raise UsageError(f"--category {category}: no version is active; give one with --version.")
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
    """Make a version the active one, whatever the result of its acceptance test.

    Args:
        console: for the result.
        registry: its path or URI.
        category: of the model.
        version: its name.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the registry has no such version.
    """
    models = _registry(registry)
    with leased(models.store):
        models.promote(category, version, by_hand=True)
    console.say(f"{category}: {version} is active")
    return 0


def rollback_model(console: Console, *, registry: str, category: str) -> int:
    """Make the previously active version the active one again.

    Args:
        console: for the result.
        registry: its path or URI.
        category: of the model.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: no other version was active before.
    """
    models = _registry(registry)
    with leased(models.store):
        version = models.rollback(category)
    console.say(f"{category}: {version} is active again")
    return 0


def prune_models(console: Console, *, registry: str, categories: Sequence[str] = (), keep: int) -> int:
    """Remove old versions, as `Registry.prune`.

    Args:
        console: for the names of the removed versions.
        registry: its path or URI.
        categories: to prune; all by default.
        keep: versions to keep per category.

    Returns:
        The exit code, 0.

    Raises:
        UsageError: the registry holds no model.
    """
    models = _registry(registry)
    with leased(models.store):
        for category in categories or models.categories():
            for name in models.prune(category, keep):
                console.say(f"{category}: {name} is removed")
    return 0


def _registry(uri: str) -> Registry:
    registry = Registry(Store.of(uri))
    if not registry.categories():
        raise UsageError(f"--registry {uri} holds no model.")
    return registry
