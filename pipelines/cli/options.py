"""Options that several commands share. Those of RunConfig and Member are generated from their fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_type_hints

import click

from pipelines.cli.config_file import options_from_file
from pipelines.cli.exit_codes import exit_with_error
from pipelines.cli.generate import ConfigOption, Decorator, make_option, together
from pipelines.config.member import Member
from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.config.option import Option, Section, options_of
from pipelines.config.presets import ENSEMBLE_BACKBONES, RECIPES, SINGLE_BACKBONE
from pipelines.config.run_config import RunConfig
from pipelines.data.layouts.detect import AUTO, LAYOUTS
from pipelines.errors import UsageError

BACKBONE = options_of(Member)["backbone"]
MEMBER_FIELDS = tuple(name for name in options_of(Member) if name != "backbone")
_UNSET: Any = object()  # distinguishes a default that is not given from a default of None


def run_field(
    name: str, *, help: str = "", default: Any = _UNSET, shown_default: str = "", required: bool = False
) -> Decorator:
    """Return a decorator that adds the option of a field of RunConfig or Member.

    Args:
        name: Name of the field.
        help: Help text that replaces the field's; empty to keep the field's.
        default: Default value that replaces the field's.
        shown_default: Text that the help shows as the default; the default value is then None.
        required: Whether the option must be given.
    """
    owner = Member if name in MEMBER_FIELDS else RunConfig
    option = options_of(owner)[name]
    if name == "layout":
        option = replace(option, choices=(AUTO, *LAYOUTS))
    if shown_default or default is not _UNSET:
        option = replace(option, shown_default=shown_default)
    if default is _UNSET:
        is_decided_later = option.shown_default or name in RECIPES["default"]
        default = None if is_decided_later else getattr(owner, name, None)
    return make_option(
        name, get_type_hints(owner)[name], replace(option, help=help or option.help), default=default, required=required
    )


def image_size_option(default: int) -> Decorator:
    """Return a decorator that adds --image-size.

    Args:
        default: Default image size S of the command, in pixels.
    """
    return run_field("image_size", default=default)


def _from_file(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            ctx.default_map = {**(ctx.default_map or {}), **options_from_file(value, ctx.command)}
        except UsageError as error:
            exit_with_error(error, 2)


config_file_option: Decorator = click.option(
    "--config",
    cls=ConfigOption,
    option=Option(Section.RUN, "YAML or JSON file with values for these options. The command line takes precedence."),
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
)
where_options = together(*(run_field(name) for name in ("workers", "threads_per_unit", "gpus_per_actor", "address")))
data_option = run_field("data", required=True)
# The fields whose options all training commands have, in the order of the help.
_TRAINING_FIELDS = [
    name
    for name in (*MEMBER_FIELDS, *options_of(RunConfig))
    if name not in ("data", "out", "image_size", "workers", "threads_per_unit", "gpus_per_actor", "address")
]
training_options = together(config_file_option, where_options, *(run_field(name) for name in _TRAINING_FIELDS))
resume_options = together(
    make_option(
        "resume",
        bool,
        Option(Section.RUN, "Resume the run in --out, or replace it by a new run.", off="fresh"),
        default=True,
    ),
    make_option("dry_run", bool, Option(Section.RUN, "Print what would be computed and write nothing."), default=False),
)
backbones_option = make_option(
    "backbones", tuple[str, ...], replace(BACKBONE, name="backbone"), default=ENSEMBLE_BACKBONES
)
backbone_option = make_option(
    "backbone", str, replace(BACKBONE, help="Name of the backbone in timm.", is_multiple=False), default=SINGLE_BACKBONE
)
registry_option = make_option(
    "registry",
    str,
    Option(Section.NIGHTLY, "Folder of the registry of model versions (path or URI).", is_path=True),
    required=True,
)
category_option = make_option("category", str, Option(Section.DATA, "Name of the category."), required=True)
model_option = make_option(
    "model",
    str,
    Option(Section.DATA, "Run directory or registry that holds the model (path or URI).", is_path=True),
    required=True,
)


def run_folder_option(help: str) -> Decorator:
    """Return a decorator that adds the required option --run.

    Args:
        help: Help text of the option.
    """
    return make_option("run_folder", str, Option(Section.DATA, help, name="run", is_path=True), required=True)


def images_option(help: str, *, required: bool = False, shown_default: str = "") -> Decorator:
    """Return a decorator that adds --images.

    Args:
        help: Help text of the option.
        required: Whether the option must be given.
        shown_default: Text that the help shows as the default.
    """
    option = Option(Section.DATA, help, is_path=True, shown_default=shown_default)
    return make_option("images", str, option, required=required)


nightly_options = together(
    make_option(
        "scores",
        str,
        Option(Section.NIGHTLY, "Folder for scores; each nightly run creates a subfolder (path or URI).", is_path=True),
        required=True,
    ),
    images_option(
        "Folder of the images to score, with one subfolder per category (path or URI).",
        shown_default="each category's test images, else its folder 'incoming'",
    ),
    make_option(
        "deadline",
        str,
        Option(
            Section.NIGHTLY,
            "Time of day (HH:MM) by which the nightly run should end. Work that does not fit is left to the next run.",
        ),
    ),
    make_option(
        "keep",
        click.IntRange(1),
        Option(
            Section.NIGHTLY,
            "Newest versions to keep per category (at least 1); rejected versions are counted separately.",
        ),
        default=NightOptions.keep,
    ),
    make_option(
        "wait",
        bool,
        Option(
            Section.NIGHTLY, "Wait for another nightly run that uses the registry, instead of exiting with an error."
        ),
        default=False,
    ),
    make_option(
        "acceptance_margin",
        float,
        Option(
            Section.ACCEPTANCE,
            "Largest accepted loss in AUROC of a candidate against the active model (0 or more).",
            former=("gate-margin",),
        ),
        default=AcceptanceConfig.margin,
    ),
    make_option(
        "acceptance_suspects",
        float,
        Option(
            Section.ACCEPTANCE,
            "Share of training outliers among the good images above which a candidate is rejected (0-1). A single "
            "outlier never causes a rejection.",
            former=("gate-suspects",),
        ),
        default=AcceptanceConfig.suspects,
    ),
)
