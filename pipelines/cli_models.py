"""`reconpatch-run models`: the commands about what is in a registry."""

from __future__ import annotations

from typing import Any

import click

from pipelines.models import list_models, promote_model, prune_models, rollback_model, show_model
from pipelines.night import NightOptions
from pipelines.options import categories_option, category_option, do, registry_option
from pipelines.progress import Screen


@click.group(name="models")
def models_group() -> None:
    """The versions in a registry, and which of them is in force."""


@models_group.command(name="list")
@registry_option
@categories_option
def models_list(**options: Any) -> None:
    """All versions, newest first; * is in force."""
    do(lambda: list_models(Screen(), **options))


@models_group.command(name="show")
@registry_option
@category_option
@click.option("--version", show_default="the one in force", help="Its name.")
def models_show(**options: Any) -> None:
    """A version's model, its ruling and the category's history, as JSON."""
    do(lambda: show_model(Screen(), **options))


@models_group.command(name="promote")
@registry_option
@category_option
@click.option("--version", required=True, help="Its name.")
def models_promote(**options: Any) -> None:
    """Put a version in force, whatever the gate said."""
    do(lambda: promote_model(Screen(), **options))


@models_group.command(name="rollback")
@registry_option
@category_option
def models_rollback(**options: Any) -> None:
    """Put the version in force that was before; nights leave it there until the images change."""
    do(lambda: rollback_model(Screen(), **options))


@models_group.command(name="prune")
@registry_option
@categories_option
@click.option("--keep", type=click.IntRange(1), default=NightOptions.keep, help="Versions of a category that are kept.")
def models_prune(**options: Any) -> None:
    """Remove old versions; the one in force and the one before it always stay."""
    do(lambda: prune_models(Screen(), **options))
