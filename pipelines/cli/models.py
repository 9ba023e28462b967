"""`reconpatch-run models`: the commands about the model versions in a registry."""

from __future__ import annotations

from typing import Any

import click

from pipelines.cli.exit_codes import do
from pipelines.cli.generate import make_option
from pipelines.cli.options import category_option, registry_option, run_field
from pipelines.config.nightly_options import NightOptions
from pipelines.config.option import Option, Section
from pipelines.tracking.console import Console


@click.group(name="models")
def models_group() -> None:
    """List, show, promote, roll back and prune the model versions in a registry."""


@models_group.command(name="list")
@registry_option
@run_field("categories")
def models_list(**options: Any) -> None:
    """List all versions, newest first; * marks the active one."""
    from pipelines.commands.models import list_models

    do(lambda: list_models(Console(), **options))


@models_group.command(name="show")
@registry_option
@category_option
@make_option("version", str, Option(Section.NIGHTLY, "Name of the version.", shown_default="the active one"))
def models_show(**options: Any) -> None:
    """Print a version's model, its acceptance test and the category's history as JSON."""
    from pipelines.commands.models import show_model

    do(lambda: show_model(Console(), **options))


@models_group.command(name="promote")
@registry_option
@category_option
@make_option("version", str, Option(Section.NIGHTLY, "Name of the version."), required=True)
def models_promote(**options: Any) -> None:
    """Make a version the active one, whatever the result of its acceptance test."""
    from pipelines.commands.models import promote_model

    do(lambda: promote_model(Console(), **options))


@models_group.command(name="rollback")
@registry_option
@category_option
def models_rollback(**options: Any) -> None:
    """Make the previously active version active again; nightly runs keep it until the images change."""
    from pipelines.commands.models import rollback_model

    do(lambda: rollback_model(Console(), **options))


@models_group.command(name="prune")
@registry_option
@run_field("categories")
@make_option(
    "keep",
    click.IntRange(1),
    Option(Section.NIGHTLY, "Versions to keep per category (at least 1)."),
    default=NightOptions.keep,
)
def models_prune(**options: Any) -> None:
    """Remove old versions; the active version and the one before it are always kept."""
    from pipelines.commands.models import prune_models

    do(lambda: prune_models(Console(), **options))
