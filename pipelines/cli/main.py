"""The command line: options -> configuration -> command.

A command's module is imported when the command is called: help and version need none, and no command those of others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.cli.exit_codes import do, exit_with_error
from pipelines.cli.generate import SectionedCommand, make_option
from pipelines.cli.models import models_group
from pipelines.cli.options import (
    BACKBONE,
    MEMBER_FIELDS,
    backbone_option,
    backbones_option,
    category_option,
    config_file_option,
    data_option,
    image_size_option,
    images_option,
    model_option,
    nightly_options,
    registry_option,
    resume_options,
    run_field,
    run_folder_option,
    training_options,
    where_options,
)
from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.config.option import Option, Section
from pipelines.config.presets import DEMO_BACKBONES, resolve_members, with_recipe
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.storage.paths import FIGURE_FORMATS
from pipelines.tracking.console import Console

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}
_OF_THE_RUN = "the run's"
_OF_THE_PAPER = "the paper's"


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="reconpatch-ray")
def main() -> None:
    """ReConPatch on Ray: visual inspection that learns from images of good parts alone and writes scores as Parquet."""


main.add_command(models_group)


@main.command(cls=SectionedCommand)
@data_option
@run_field("out", required=True)
@image_size_option(480)
@backbones_option
@training_options
@resume_options
def ensemble(**options: Any) -> None:
    """Fit, score and fuse several networks on every category of a folder."""
    _fit("ensemble", "ensemble", options)


@main.command(cls=SectionedCommand)
@data_option
@run_field("out", required=True)
@image_size_option(224)
@backbone_option
@make_option(
    "preset",
    str,
    Option(
        Section.RECIPE,
        "Setting of the paper that the defaults are from.",
        choices=("single", "segmentation"),
        redoes="extract",
    ),
    default="single",
)
@training_options
@resume_options
def single(backbone: str, preset: str, **options: Any) -> None:
    """Fit and score one network: an ensemble of one, with the same files."""
    _fit("single", preset, {**options, "backbones": (backbone,)})


@main.command()
@run_field("out", default="demo-run", help="Folder for the run's files; an earlier demo in it is replaced.")
@run_field("epochs")
@run_field("max_steps", default=300)
@run_field("maps")
@run_field("seed")
@where_options
def demo(out: str, **options: Any) -> None:
    """Run the pipeline on images of solar cells that come with their packages: no download, a few minutes."""
    from pipelines.data.demo import prepare_demo

    try:
        data = prepare_demo(Path(out))
    except UsageError as error:
        exit_with_error(error, 2)
    fixed = {"data": str(data), "out": out, "image_size": 224, "backbones": DEMO_BACKBONES, "resume": False}
    _fit("demo", "ensemble", {**options, **fixed})


@main.command(name="evaluate")
@run_folder_option("Folder of a run.")
@run_field("data", help="Folder of images, for the masks.", shown_default=_OF_THE_RUN)
@run_field("false_alarms", shown_default=_OF_THE_RUN)
@run_field("maps", shown_default="as in the run", help="Write anomaly maps at each image's own resolution.")
@where_options
def evaluate_command(**options: Any) -> None:
    """Compute metrics, thresholds and maps again, from the scores and the masks; nothing is trained."""
    from pipelines.commands.evaluate import EvaluateOptions, evaluate

    do(lambda: evaluate(EvaluateOptions(**options), Console()))


@main.command(name="report")
@run_folder_option("Folder of a run, of a nightly run's scores, or of new images' scores.")
@run_field("data", help="Folder of the scored images.", shown_default="where they were scored")
@make_option("beside", str, Option(Section.OUTPUT, "Another run of the same images, for comparison.", is_path=True))
@make_option(
    "figures",
    tuple[str, ...],
    Option(
        Section.OUTPUT, "Also write figures in this format; may be repeated.", choices=FIGURE_FORMATS, is_multiple=True
    ),
)
@where_options
def report_command(**options: Any) -> None:
    """Write an HTML report: categories, scores, thresholds and the images worth looking at."""
    from pipelines.report.build import ReportOptions, report

    do(lambda: report(ReportOptions(**options), Console()))


@main.command(name="compare")
@click.argument("run_a", type=click.Path())
@click.argument("run_b", type=click.Path())
@run_field("out", help="Folder for the table and the page.", shown_default="RUN_B/compare")
def compare_command(run_a: str, run_b: str, out: str | None) -> None:
    """Compare RUN_B with RUN_A: metrics with confidence intervals, and the images whose verdict changed."""
    from pipelines.commands.compare import compare

    do(lambda: compare(run_a, run_b, Console(), out))


@main.command(name="score", cls=SectionedCommand)
@model_option
@images_option("Folder of new, unlabeled images.", required=True)
@category_option
@run_field("out", help="Folder for the scores.", required=True)
@run_field("weights")
@run_field("maps", help="Write anomaly maps at each image's own resolution.")
@run_field("false_alarms", shown_default="the model's")
@run_field("scratch")
@run_field("scratch_gb", help="Space for patch features in GB (above 0); images are processed in waves that fit.")
@run_field("strict")
@where_options
def score_command(**options: Any) -> None:
    """Score new images with a category's model."""
    from pipelines.commands.score import NewImages, score_new

    do(lambda: score_new(NewImages(**options), Console()))


@main.command(name="export")
@model_option
@category_option
@make_option("out", str, Option(Section.OUTPUT, "File to write.", is_path=True), required=True)
@run_field("weights")
@images_option("Folder of the category's images; the graph is checked on some of them, too.")
def export_command(**options: Any) -> None:
    """Export a category's model as one ONNX graph for onnxruntime: image in, score and patch scores out.

    The graph is compared with the model on images first; a graph that differs is not written.
    """
    from pipelines.commands.export import export

    do(lambda: export(Console(), **options))


@main.command(name="nightly", cls=SectionedCommand)
@data_option
@registry_option
@nightly_options
@image_size_option(480)
@backbones_option
@training_options
def nightly_command(backbones: tuple[str, ...], **options: Any) -> None:
    """Retrain what changed, promote models that pass the acceptance test, and score the day's images, unattended."""
    from pipelines.nightly.run import nightly

    own = {name: options.pop(name) for name in ("registry", "scores", "images", "deadline", "keep", "wait")}
    limits = {name: options.pop(f"acceptance_{name}") for name in ("margin", "suspects")}
    do(
        lambda: nightly(
            _config("nightly", "ensemble", {**options, "backbones": backbones, "out": own["registry"]}),
            NightOptions(**own, acceptance=AcceptanceConfig(**limits)),
            Console(),
        )
    )


@main.command(name="status")
@registry_option
@make_option("as_json", bool, Option(Section.OUTPUT, "Print JSON.", name="json"), default=False)
def status_command(**options: Any) -> None:
    """Show each category's model, last nightly run, drift and failures; what needs attention comes first."""
    from pipelines.commands.status import status

    do(lambda: status(Console(), **options))


@main.command(name="inspect")
@data_option
@run_field("layout")
@run_field("categories")
@run_field(
    "holdout",
    help="Share of the good training images that a run would hold out (0 or more, below 1).",
    default=RunConfig.holdout,
)
@run_field("bit_depth")
def inspect_command(**options: Any) -> None:
    """List what a folder of images holds and what looks wrong in it, before anything is computed."""
    from pipelines.commands.inspect_data import InspectOptions, inspect

    do(lambda: inspect(InspectOptions(**options), Console()))


@main.command(name="paper-tables", cls=SectionedCommand)
@config_file_option
@data_option
@run_field("out", help="Folder for the runs' folders and tables.parquet.", required=True)
@make_option(
    "tables",
    click.IntRange(1, 6),
    Option(
        Section.RECIPE,
        "Table of the paper (1-6); may be repeated.",
        name="table",
        is_multiple=True,
        shown_default="all",
    ),
)
@run_field("categories")
@make_option(
    "backbones",
    tuple[str, ...],
    Option(
        Section.RECIPE,
        BACKBONE.help + " Runs of one network use the first one, ensembles all of them.",
        name="backbone",
        is_multiple=True,
        shown_default=_OF_THE_PAPER,
    ),
)
@run_field("weights")
@run_field("image_size", shown_default=_OF_THE_PAPER)
@run_field("epochs", shown_default=_OF_THE_PAPER)
@run_field(
    "max_steps",
    help="Upper limit of training steps per category and network; 0: no limit, which takes days on CPUs. The tables "
    "state what was changed.",
    shown_default="0",
)
@run_field("scratch", shown_default="in each run's folder")
@run_field("scratch_gb")
@make_option("dry_run", bool, Option(Section.RUN, "List the runs and write nothing."), default=False)
@where_options
def paper_tables_command(**options: Any) -> None:
    """Run what Tables 1-6 of the paper need, on MVTec AD, and print the results beside the published figures.

    Each run is a folder in --out, as `single` and `ensemble` write it; calling the command again computes only what is
    missing.
    """
    from pipelines.commands.paper.tables import PaperOptions, paper_tables

    do(lambda: paper_tables(PaperOptions(**options), Console()))


def _fit(command: str, preset: str, options: dict[str, Any]) -> None:
    from pipelines.commands.run import dry_run, run

    options = dict(options)
    work = dry_run if options.pop("dry_run", False) else run
    options["fresh"] = not options.pop("resume")
    do(lambda: work(_config(command, preset, options), Console()))


def _config(command: str, preset: str, options: dict[str, Any]) -> RunConfig:
    """Return the configuration that a command's options resolve to."""
    overrides = {name: options.get(name) for name in MEMBER_FIELDS}
    rest = {name: value for name, value in options.items() if name not in (*MEMBER_FIELDS, "backbones")}
    rest = with_recipe(rest)
    members = resolve_members(preset, options["backbones"], rest["image_size"], overrides, recipe=rest["recipe"])
    return RunConfig(command=command, members=members, **rest)
