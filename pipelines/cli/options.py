"""The options that several commands share; those of RunConfig and Member are made from their fields."""

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
from pipelines.data.layouts import AUTO, LAYOUTS
from pipelines.errors import UsageError

BACKBONE = options_of(Member)["backbone"]
MEMBER_FIELDS = tuple(name for name in options_of(Member) if name != "backbone")
_UNSET: Any = object()  # no default is given; None is one


def run_field(
    name: str, *, help: str = "", default: Any = _UNSET, shown_default: str = "", required: bool = False
) -> Decorator:
    """Return the option of a field of RunConfig or Member.

    Args:
        name: the field.
        help: a help text in place of the field's.
        default: a default in place of the field's.
        shown_default: what decides where the option is not given; the default is None then.
        required: whether the option must be given.
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
    """Return the option --image-size with a command's default."""
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
    option=Option(Section.RUN, "YAML or JSON file with these options' names; the command line takes precedence."),
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
)
where_options = together(*(run_field(name) for name in ("workers", "threads_per_unit", "gpus_per_actor", "address")))
data_option = run_field("data", required=True)
# The fields of a configuration that every command which trains has, in the order of the help.
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
        Option(Section.RUN, "Resume the run in --out, or replace it.", off="fresh"),
        default=True,
    ),
    make_option("dry_run", bool, Option(Section.RUN, "List what would be computed and write nothing."), default=False),
)
backbones_option = make_option(
    "backbones", tuple[str, ...], replace(BACKBONE, name="backbone"), default=ENSEMBLE_BACKBONES
)
backbone_option = make_option(
    "backbone", str, replace(BACKBONE, help="Name of the network in timm.", is_multiple=False), default=SINGLE_BACKBONE
)
registry_option = make_option(
    "registry", str, Option(Section.NIGHTLY, "Folder of the registry of model versions.", is_path=True), required=True
)
category_option = make_option("category", str, Option(Section.DATA, "The category."), required=True)
model_option = make_option(
    "model", str, Option(Section.DATA, "Folder of a run, or a registry, with the model.", is_path=True), required=True
)


def run_folder_option(help: str) -> Decorator:
    """Return the option --run of a command that reads a finished run."""
    return make_option("run_folder", str, Option(Section.DATA, help, name="run", is_path=True), required=True)


def images_option(help: str, *, required: bool = False, shown_default: str = "") -> Decorator:
    """Return the option --images of a command that reads images beside a model."""
    option = Option(Section.DATA, help, is_path=True, shown_default=shown_default)
    return make_option("images", str, option, required=required)


nightly_options = together(
    make_option(
        "scores",
        str,
        Option(Section.NIGHTLY, "Folder for scores; each run writes a folder of its own in it.", is_path=True),
        required=True,
    ),
    images_option(
        "Folder of the images to score, <category>/...", shown_default="each category's test images, else incoming"
    ),
    make_option(
        "deadline",
        str,
        Option(Section.NIGHTLY, "Time of day (06:00); what cannot be finished by then is left to the next run."),
    ),
    make_option(
        "keep",
        click.IntRange(1),
        Option(Section.NIGHTLY, "Versions to keep per category (at least 1)."),
        default=NightOptions.keep,
    ),
    make_option(
        "wait",
        bool,
        Option(Section.NIGHTLY, "Wait while another nightly run uses the registry, instead of exiting."),
        default=False,
    ),
    make_option(
        "acceptance_margin",
        float,
        Option(
            Section.ACCEPTANCE,
            "AUROC by which a candidate may be worse than the active model (0 or more).",
            former=("gate-margin",),
        ),
        default=AcceptanceConfig.margin,
    ),
    make_option(
        "acceptance_suspects",
        float,
        Option(
            Section.ACCEPTANCE,
            "Share of training outliers among the good images above which a candidate is rejected (0-1); a single "
            "outlier never is too many.",
            former=("gate-suspects",),
        ),
        default=AcceptanceConfig.suspects,
    ),
)
