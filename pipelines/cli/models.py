"""The commands of `reconpatch-run models`, which manage the model versions in a registry."""

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
    """Manage the model versions in a registry."""


@models_group.command(name="list")
@registry_option
@run_field("categories")
def models_list(**options: Any) -> None:
    """List the versions, newest first; * marks the active ones."""
    from pipelines.commands.models import list_models

    do(lambda: list_models(Console(), **options))


@models_group.command(name="show")
@registry_option
@category_option
@make_option("version", str, Option(Section.NIGHTLY, "Name of the model version.", shown_default="the active model"))
def models_show(**options: Any) -> None:
    """Print a version, its acceptance test and history as JSON.

    The history is that of the category.
    """
    from pipelines.commands.models import show_model

    do(lambda: show_model(Console(), **options))


@models_group.command(name="promote")
@registry_option
@category_option
@make_option("version", str, Option(Section.NIGHTLY, "Name of the model version."), required=True)
def models_promote(**options: Any) -> None:
    """Make a version the active model.

    The result of its acceptance test is ignored.
    """
    from pipelines.commands.models import promote_model

    do(lambda: promote_model(Console(), **options))


@models_group.command(name="rollback")
@registry_option
@category_option
def models_rollback(**options: Any) -> None:
    """Reactivate the previously active version.

    Nightly runs keep it active until the category's images change.
    """
    from pipelines.commands.models import rollback_model

    do(lambda: rollback_model(Console(), **options))


@models_group.command(name="prune")
@registry_option
@run_field("categories")
@make_option(
    "keep",
    click.IntRange(1),
    Option(
        Section.NIGHTLY, "Newest versions to keep per category (at least 1); rejected versions are counted separately."
    ),
    default=NightOptions.keep,
)
def models_prune(**options: Any) -> None:
    """Remove old versions.

    The active version and the previously active one are always kept.
    """
    from pipelines.commands.models import prune_models

    do(lambda: prune_models(Console(), **options))
