"""`reconpatch-run models`: what a registry holds, and what is in force."""

from __future__ import annotations

import json

from pipelines.lease import leased
from pipelines.progress import Screen
from pipelines.registry import Registry
from pipelines.rundir import RULING
from pipelines.storage import Store
from pipelines.usage import UsageError


def list_models(screen: Screen, registry: str, categories: tuple[str, ...]) -> int:
    """A row a version, newest first; exit code 1 where a category's files are damaged."""
    found = _registry(registry)
    lines, code = [], 0
    for category in categories or found.categories():
        try:
            versions = found.versions(category)
        except UsageError as error:  # one category's damaged file hides no other's models
            screen.warn(f"{category}: {error}")
            code = 1
            continue
        lines += [
            ["*" if version.current else "", category, version.name, version.status, version.created_at[:19]]
            for version in versions
        ]
    screen.table(["", "category", "version", "ruling", "since (UTC)"], lines)
    return code


def show_model(screen: Screen, registry: str, category: str, version: str | None) -> int:
    """A version's model and ruling, and the category's history, as JSON."""
    found = _registry(registry)
    name = version or found.current(category)
    if name is None:
        raise UsageError(f"--category {category}: no version is in force; name one with --version.")
    model = found.model(category, name)
    place = found.version(category, name)
    story = {
        "category": category,
        "version": name,
        "current": name == found.current(category),
        "members": [member.backbone for member in model.members],
        "image_size": model.image_size,
        "held_out_images": len(model.holdout_scores),
        "threshold": model.threshold,
        "false_alarm_bound": model.false_alarm_bound,
        "ruling": place.read_json(RULING),
        "history": found.history(category),
    }
    screen.say(json.dumps(story, indent=2, ensure_ascii=False))
    return 0


def promote_model(screen: Screen, registry: str, category: str, version: str) -> int:
    """Put a version in force; exit code 0. Raises UsageError where there is none of that name."""
    found = _registry(registry)
    with leased(found.store):
        found.promote(category, version, by_hand=True)
    screen.say(f"{category}: {version} is in force")
    return 0


def rollback_model(screen: Screen, registry: str, category: str) -> int:
    """Put the version in force that was before; exit code 0. Raises UsageError where there is none."""
    found = _registry(registry)
    with leased(found.store):
        before = found.rollback(category)
    screen.say(f"{category}: back to {before}")
    return 0


def prune_models(screen: Screen, registry: str, categories: tuple[str, ...], keep: int) -> int:
    """Remove old versions of some categories, or of all, as `Registry.prune`; exit code 0."""
    found = _registry(registry)
    with leased(found.store):
        for category in categories or found.categories():
            for name in found.prune(category, keep):
                screen.say(f"{category}: {name} is gone")
    return 0


def _registry(where: str) -> Registry:
    found = Registry(Store.of(where))
    if not found.categories():
        raise UsageError(f"--registry {where}: holds no model.")
    return found
