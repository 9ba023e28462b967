"""The command line: options → RunConfig → run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.cli_models import models_group
from pipelines.compare import compare
from pipelines.config import DEMO_BACKBONES, SINGLE_BACKBONE, RunConfig, resolve_members, with_recipe
from pipelines.demo import prepare_demo
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.gate import Terms
from pipelines.inspect import inspect
from pipelines.night import NightOptions
from pipelines.nightly import nightly
from pipelines.options import (
    bit_depth_option,
    categories_option,
    config_file_option,
    data_option,
    do,
    ensemble_options,
    epochs_option,
    layout_option,
    maps_option,
    model_option,
    out_option,
    recipe_options,
    refuse,
    registry_option,
    run_options,
    scratch_gb_option,
    scratch_option,
    seed_option,
    strict_option,
    weights_option,
    where_options,
)
from pipelines.paper_tables import paper_tables
from pipelines.progress import Screen
from pipelines.report.build import FIGURES, report
from pipelines.run import dry_run, run
from pipelines.score_new import NewImages, score_new
from pipelines.status import status
from pipelines.usage import UsageError

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="reconpatch-ray")
def main() -> None:
    """ReConPatch on Ray: what good parts look like, learned from good images alone; scores as Parquet."""


main.add_command(models_group)


@main.command()
@data_option
@out_option
@ensemble_options
@recipe_options
@run_options
def ensemble(**options: Any) -> None:
    """Fit, score and fuse several networks on every category of a folder."""
    _fit("ensemble", "ensemble", options)


@main.command()
@data_option
@out_option
@click.option("--image-size", type=int, default=224, help="S, the network's input in pixels.")
@click.option("--backbone", default=SINGLE_BACKBONE, help="timm's name.")
@click.option("--preset", type=click.Choice(["single", "segmentation"]), default="single", help="Row of the paper.")
@recipe_options
@run_options
def single(backbone: str, preset: str, **options: Any) -> None:
    """Fit and score one network: an ensemble of one, with the same files."""
    _fit("single", preset, {**options, "backbones": (backbone,)})


@main.command()
@click.option(
    "--out", default="demo-run", type=click.Path(), help="Folder for the run's files; an old demo is replaced."
)
@epochs_option
@click.option("--max-steps", type=int, default=300, help="Training steps a unit.")
@maps_option
@seed_option
@where_options
def demo(out: str, **options: Any) -> None:
    """Real solar cells, real weights, no model hub, one machine, a few minutes."""
    try:
        data = prepare_demo(Path(out))
    except UsageError as error:
        refuse(error)
    backbones = {"data": str(data), "out": out, "image_size": 224, "backbones": DEMO_BACKBONES}
    _fit("demo", "ensemble", {**options, **backbones, "resume": False})


@main.command(name="evaluate")
@click.option("--run", "run_folder", required=True, type=click.Path(), help="A run's folder.")
@click.option("--data", type=click.Path(), show_default="that of the run", help="Where the masks are.")
@click.option("--false-alarms", type=float, show_default="that of the run", help="Wished rate among good images.")
@click.option("--maps/--no-maps", default=None, show_default="as the run has them", help="Write anomaly maps.")
@where_options
def evaluate_command(run_folder: str, **options: Any) -> None:
    """Metrics, maps and verdicts again, from the Parquet and the masks; nothing is trained."""
    do(lambda: evaluate(run_folder, Screen(), **options))


@main.command(name="report")
@click.option("--run", "run_folder", required=True, type=click.Path(), help="A run's folder, a night's, or scores.")
@click.option("--data", type=click.Path(), show_default="where they were", help="Where the pictures are.")
@click.option("--beside", type=click.Path(), help="Another run of the same images: its scores are shown beside.")
@click.option("--figures", multiple=True, type=click.Choice(FIGURES), help="Figures as files, too; repeatable.")
@where_options
def report_command(run_folder: str, **options: Any) -> None:
    """Pages to look at: categories, scores, thresholds, and the pictures that matter."""
    do(lambda: report(run_folder, Screen(), **options))


@main.command(name="compare")
@click.argument("run_a", type=click.Path())
@click.argument("run_b", type=click.Path())
@click.option("--out", type=click.Path(), show_default="RUN_B/compare", help="Folder for the table and the page.")
def compare_command(run_a: str, run_b: str, out: str | None) -> None:
    """What RUN_B has gained over RUN_A: metrics with intervals, and the images that changed sides."""
    do(lambda: compare(run_a, run_b, Screen(), out))


@main.command(name="score")
@model_option
@click.option("--images", required=True, type=click.Path(), help="Folder of images, unlabelled.")
@click.option("--category", required=True, help="Whose model scores them.")
@click.option("--out", required=True, type=click.Path(), help="Folder for the scores.")
@weights_option
@maps_option
@click.option("--false-alarms", type=float, show_default="that of the model", help="Wished rate among good images.")
@scratch_option
@scratch_gb_option
@strict_option
@where_options
def score_command(**options: Any) -> None:
    """Score new images with a category's model."""
    do(lambda: score_new(NewImages(**options), Screen()))


@main.command(name="export")
@model_option
@click.option("--category", required=True, help="Whose model.")
@click.option("--out", required=True, type=click.Path(), help="The file.")
@weights_option
@click.option(
    "--images", type=click.Path(), help="Folder of the category's pictures, to check the graph on some of them, too."
)
def export_command(**options: Any) -> None:
    """A category's model as one ONNX graph, for onnxruntime alone: a picture in, score and patch map out.

    What is written has been compared with the model on pictures; a graph that differs is not written.
    """
    do(lambda: export(Screen(), **options))


@main.command(name="nightly")
@data_option
@registry_option
@click.option("--scores", required=True, type=click.Path(), help="Folder for the nights' scores, one a night.")
@click.option(
    "--images", type=click.Path(), show_default="each category's test, else incoming", help="Today's, <category>/..."
)
@click.option("--deadline", help="Time of day, as in 06:00: what cannot be finished by then is put off.")
@ensemble_options
@click.option(
    "--keep", type=click.IntRange(1), default=NightOptions.keep, help="Versions of a category that are kept, at least."
)
@click.option("--gate-margin", type=float, default=Terms.margin, help="AUROC by which a candidate may be worse.")
@click.option(
    "--gate-suspects",
    type=float,
    default=Terms.suspects,
    help="Share of good images unlike all the others above which a category is held back.",
)
@click.option("--wait", is_flag=True, help="Until another night in this registry is done, instead of leaving.")
@recipe_options
def nightly_command(backbones: tuple[str, ...], **options: Any) -> None:
    """Learn what has changed, keep what is better, judge today's images; every night, unattended."""
    terms = options.pop("gate_margin"), options.pop("gate_suspects")
    own = {name: options.pop(name) for name in ("registry", "scores", "images", "deadline", "keep", "wait")}
    do(
        lambda: nightly(
            _config("nightly", "ensemble", {**options, "backbones": backbones, "out": own["registry"]}),
            NightOptions(**own, terms=Terms(*terms)),
            Screen(),
        )
    )


@main.command(name="status")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status_command(**options: Any) -> None:
    """Categories, model ages, last night's verdicts, drift and failures; what wants attention first."""
    do(lambda: status(Screen(), **options))


@main.command(name="inspect")
@data_option
@layout_option
@categories_option
@click.option("--holdout", type=float, default=RunConfig.holdout, help="Share of good images that would be held out.")
@bit_depth_option
def inspect_command(**options: Any) -> None:
    """What a folder of images holds and what is odd about it, before an hour is spent."""
    do(lambda: inspect(Screen(), **options))


@main.command(name="paper-tables")
@config_file_option
@data_option
@click.option("--out", required=True, type=click.Path(), help="Folder for the runs' folders and tables.parquet.")
@click.option(
    "--table", "tables", type=click.IntRange(1, 6), multiple=True, show_default="all", help="Of the paper; repeatable."
)
@categories_option
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    show_default="the paper's",
    help="timm's name; repeatable: where the paper has one network the first is used, in ensembles all are.",
)
@weights_option
@click.option("--image-size", type=int, show_default="the paper's", help="S of every run, for a trial.")
@click.option("--epochs", type=int, show_default="the paper's", help="Of every adapter.")
@click.option(
    "--max-steps",
    type=int,
    show_default="0",
    help="Of every adapter; 0: the epochs' full count, which takes days on CPUs. The tables say what was changed.",
)
@click.option("--scratch", type=click.Path(), show_default="in each run's folder", help="Folder for patch features.")
@scratch_gb_option
@click.option("--dry-run", is_flag=True, help="List the runs; write nothing.")
@where_options
def paper_tables_command(**options: Any) -> None:
    """The runs behind Tables 1-6 of the paper, on MVTec AD; ours beside the published figures.

    Each run is a folder of --out, as `single` and `ensemble` leave it: a second call goes on where the first stopped.
    """
    do(lambda: paper_tables(Screen(), **options))


_MEMBER_FIELDS = ("levels", "patch_size", "aggregation", "start", "dim", "coreset", "epochs", "lr")


def _fit(command: str, preset: str, options: dict[str, Any]) -> None:
    options = dict(options)
    work = dry_run if options.pop("dry_run", False) else run
    options["fresh"] = not options.pop("resume")
    do(lambda: work(_config(command, preset, options), Screen()))


def _config(command: str, preset: str, options: dict[str, Any]) -> RunConfig:
    """The options of a recipe, resolved."""
    overrides = {name: options.get(name) for name in _MEMBER_FIELDS}
    rest = {name: value for name, value in options.items() if name not in (*_MEMBER_FIELDS, "backbones")}
    rest = with_recipe(rest)
    members = resolve_members(preset, options["backbones"], rest["image_size"], overrides, rest["recipe"])
    return RunConfig(command=command, members=members, **rest)
