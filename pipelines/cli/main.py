"""The commands of `reconpatch-run`: each resolves its options to a configuration and calls its implementation.

The module that implements a command is imported when the command is called, so help and version load none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.cli.exit_codes import do, exit_with_error
from pipelines.cli.generate import SectionedCommand, make_option
from pipelines.cli.models import models_group
from pipelines.cli.options import (
    MEMBER_FIELDS,
    backbone_option,
    backbones_option,
    category_option,
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
from pipelines.cli.paper_tables import paper_tables_command
from pipelines.cli.start_page import START_PAGE
from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.config.option import Option, Section
from pipelines.config.presets import DEMO_BACKBONES, resolve_members, with_recipe
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.storage.paths import FIGURE_FORMATS
from pipelines.tracking.console import Console

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}
_OF_THE_RUN = "the run's"


@click.group(context_settings=_CONTEXT, invoke_without_command=True)
@click.version_option(package_name="reconpatch-ray")
@click.pass_context
def main(context: click.Context) -> None:
    """Detect visual anomalies with ReConPatch on Ray.

    Models are fitted on images of good parts only. Scores are written as Parquet files.
    """
    if context.invoked_subcommand is None:
        click.echo(START_PAGE)


main.add_command(models_group)


@main.command(cls=SectionedCommand)
@data_option
@run_field("out", required=True)
@image_size_option(480)
@backbones_option
@training_options
@resume_options
def ensemble(**options: Any) -> None:
    """Fit an ensemble of backbones and score the test images.

    Each category of the dataset gets its own models. Defaults marked 'by preset' depend on the backbone, the image size
    and --recipe.
    """
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
        "Setting of the paper that supplies default values.",
        choices=("single", "segmentation"),
        redoes="extract",
    ),
    default="single",
)
@training_options
@resume_options
def single(backbone: str, preset: str, **options: Any) -> None:
    """Fit one backbone and score the test images.

    The run directory has the same files as that of an ensemble with one member. Defaults marked 'by preset' depend on
    --preset, the backbone, the image size and --recipe.
    """
    _fit("single", preset, {**options, "backbones": (backbone,)})


@main.command()
@run_field("out", default="demo-run", help="Run directory; an earlier demo in it is replaced (local path).")
@run_field("epochs")
@run_field("max_steps", default=300)
@run_field("maps")
@run_field("seed")
@where_options
def demo(out: str, **options: Any) -> None:
    """Run an example on solar-cell images (a few minutes).

    Images and weights come from the installed extra 'demo'; nothing is downloaded.
    """
    from pipelines.data.demo import prepare_demo

    try:
        data = prepare_demo(Path(out))
    except UsageError as error:
        exit_with_error(error, 2)
    fixed = {"data": str(data), "out": out, "image_size": 224, "backbones": DEMO_BACKBONES, "resume": False}
    _fit("demo", "ensemble", {**options, **fixed})


@main.command(name="evaluate")
@run_folder_option("Run directory (path or URI).")
@run_field(
    "data", help="Folder of the dataset, from which the masks are read (path or URI).", shown_default=_OF_THE_RUN
)
@run_field("false_alarms", shown_default=_OF_THE_RUN)
@run_field("maps", shown_default="as in the run", help="Write anomaly maps at the resolution of each image.")
@where_options
def evaluate_command(**options: Any) -> None:
    """Recompute the metrics, thresholds and maps of a run.

    The stored scores and the masks are used; nothing is trained.
    """
    from pipelines.commands.evaluate import EvaluateOptions, evaluate

    do(lambda: evaluate(EvaluateOptions(**options), Console()))


@main.command(name="report")
@run_folder_option("Run directory, or folder with the scores of a nightly run or of new images (path or URI).")
@run_field("data", help="Folder of the scored images (path or URI).", shown_default="as stored in the run")
@make_option(
    "beside",
    str,
    Option(
        Section.OUTPUT, "Run directory of another run on the same images, for comparison (path or URI).", is_path=True
    ),
)
@make_option(
    "figures",
    tuple[str, ...],
    Option(
        Section.OUTPUT,
        "Format of additional figures. Repeat the option for several.",
        choices=FIGURE_FORMATS,
        is_multiple=True,
    ),
)
@where_options
def report_command(**options: Any) -> None:
    """Write an HTML report of scored images.

    The report shows categories, scores, thresholds and the images that are worth a closer look.
    """
    from pipelines.report.build import ReportOptions, report

    do(lambda: report(ReportOptions(**options), Console()))


@main.command(name="compare")
@click.argument("run_a", type=click.Path())
@click.argument("run_b", type=click.Path())
@run_field("out", help="Folder for the table and the HTML page (path or URI).", shown_default="RUN_B/compare")
def compare_command(run_a: str, run_b: str, out: str | None) -> None:
    """Compare the metrics and verdicts of two runs.

    The differences of RUN_B from RUN_A are reported with confidence intervals, and with the images whose verdict
    changed.
    """
    from pipelines.commands.compare import compare

    do(lambda: compare(run_a, run_b, Console(), out))


@main.command(name="score", cls=SectionedCommand)
@model_option
@images_option("Folder of new, unlabeled images (path or URI).", required=True)
@category_option
@run_field("out", help="Folder for the scores (path or URI).", required=True)
@run_field("weights")
@run_field("maps", help="Write anomaly maps at the resolution of each image.")
@run_field("false_alarms", shown_default="the model's")
@run_field("bit_depth", shown_default="the model's")
@run_field("scratch")
@run_field("scratch_gb", help="Space for patch features, in GB (above 0). Images are processed in waves that fit.")
@run_field("strict")
@where_options
def score_command(**options: Any) -> None:
    """Score new images with the model of a category."""
    from pipelines.commands.score import NewImages, score_new

    do(lambda: score_new(NewImages(**options), Console()))


@main.command(name="export")
@model_option
@category_option
@make_option("out", str, Option(Section.OUTPUT, "ONNX file to write (path or URI).", is_path=True), required=True)
@run_field("weights")
@images_option("Folder of images of the category; the graph is also checked on some of them (path or URI).")
def export_command(**options: Any) -> None:
    """Export the model of a category as an ONNX graph.

    The graph is for onnxruntime. Its input is an image, its outputs are the score and the patch scores. Before the
    file is written, the graph is compared with the model on images; a graph that differs is not written.
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
    """Retrain changed categories and score new images, unattended.

    A retrained model becomes active unless the acceptance test rejects it. Defaults marked 'by preset' depend on the
    backbone, the image size and --recipe.
    """
    from pipelines.nightly.run import nightly

    own = {name: options.pop(name) for name in ("registry", "scores", "images", "deadline", "keep", "wait")}
    limits = {name: options.pop(f"acceptance_{name}") for name in ("margin", "suspects")}
    do(
        lambda: nightly(
            _config("nightly", "ensemble", {**options, "backbones": backbones, "out": own["registry"]}),
            NightOptions(**own, acceptance=AcceptanceConfig(**limits)),
            Console(),
        ),
        resumes=True,
    )


@main.command(name="status")
@registry_option
@make_option("as_json", bool, Option(Section.OUTPUT, "Print JSON instead of a table.", name="json"), default=False)
def status_command(**options: Any) -> None:
    """Show the state of each category in a registry.

    The state is the active model, the last nightly run, drift and failures. Categories that need attention come first.
    """
    from pipelines.commands.status import status

    do(lambda: status(Console(), **options))


@main.command(name="inspect")
@data_option
@run_field("layout")
@run_field("columns")
@run_field("categories")
@run_field(
    "holdout",
    help="Share of the good training images that a run would hold out as calibration images (0 or more, below 1).",
    default=RunConfig.holdout,
)
@run_field("bit_depth")
def inspect_command(**options: Any) -> None:
    """Check a dataset before a run.

    The contents of the dataset and possible problems are listed. Nothing is written.
    """
    from pipelines.commands.inspect_data import InspectOptions, inspect

    do(lambda: inspect(InspectOptions(**options), Console()))


main.add_command(paper_tables_command)


def _fit(command: str, preset: str, options: dict[str, Any]) -> None:
    from pipelines.commands.run import dry_run, run

    options = dict(options)
    work = dry_run if options.pop("dry_run", False) else run
    options["fresh"] = not options.pop("resume")
    resumes = work is run and not options["fresh"]
    do(lambda: work(_config(command, preset, options), Console()), resumes=resumes)


def _config(command: str, preset: str, options: dict[str, Any]) -> RunConfig:
    """Return the run configuration that results from the options of a command."""
    overrides = {name: options.get(name) for name in MEMBER_FIELDS}
    rest = {name: value for name, value in options.items() if name not in (*MEMBER_FIELDS, "backbones")}
    rest = with_recipe(rest)
    members = resolve_members(preset, options["backbones"], rest["image_size"], overrides, recipe=rest["recipe"])
    return RunConfig(command=command, members=members, **rest)
