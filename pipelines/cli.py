"""The command line: options → RunConfig → run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from pipelines.config import (
    DEMO_BACKBONES,
    ENSEMBLE_BACKBONES,
    RECIPES,
    SINGLE_BACKBONE,
    RunConfig,
    UsageError,
    resolve_members,
    with_recipe,
)
from pipelines.config_file import options_from_file
from pipelines.demo import prepare_demo
from pipelines.evaluate import evaluate
from pipelines.inspect import inspect
from pipelines.paper_tables import paper_tables
from pipelines.progress import Screen
from pipelines.run import dry_run, run
from pipelines.score_new import NewImages, score_new
from reconpatch.backbones import BackboneError
from reconpatch.model import FUSIONS, ModelError
from reconpatch.patches import AGGREGATIONS
from reconpatch.starts import STARTS

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120}
_BY_PRESET = "by preset"


class _Levels(click.ParamType[tuple[int, ...]]):
    """Comma-separated level numbers, or a list of them."""

    name = "levels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return tuple(int(level) for level in (value.split(",") if isinstance(value, str) else value))
        except (ValueError, TypeError):
            self.fail(f"{value!r} is not a list of levels such as 2,3", param, ctx)


class _Sigma(click.ParamType[float | None]):
    """A positive number, or 'neighbour'."""

    name = "sigma"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or value == "neighbour":
            return None
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor 'neighbour'", param, ctx)


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _from_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            ctx.default_map = {**(ctx.default_map or {}), **options_from_file(value, ctx.command)}
        except UsageError as error:
            _refuse(error)


_config_file = click.option(
    "--config",
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="YAML or JSON of these options' names; the command line wins.",
)
_where = _options(
    click.option("--workers", type=int, show_default="free CPUs // threads a unit", help="Units that run at once."),
    click.option("--threads-per-unit", type=int, default=1, help="CPU threads of a unit."),
    click.option("--gpus-per-actor", type=float, default=0.0, help="GPUs of a unit; above 0 it computes on CUDA."),
    click.option("--address", show_default="RAY_ADDRESS, else a Ray started here", help="The Ray cluster."),
)
_data = click.option("--data", required=True, type=click.Path(), help="Folder of categories in MVTec AD's layout.")
_out = click.option("--out", required=True, type=click.Path(), help="Folder for the run's files.")
_categories = click.option(
    "--category", "categories", multiple=True, show_default="all", help="Only this category; repeatable."
)
_weights = click.option("--weights", type=click.Path(), help="Folder with <backbone>.safetensors or .pth.")
_scratch_gb = click.option("--scratch-gb", type=float, default=50.0, help="Room for features; categories go in waves.")
_holdout = click.option(
    "--holdout",
    type=float,
    show_default="0.2; 0 with --recipe paper",
    help="Share of good images that no model sees; thresholds come from them.",
)
_false_alarms = click.option("--false-alarms", type=float, default=0.01, help="Wished rate among good images.")
_recipe = _options(
    _config_file,
    _categories,
    _weights,
    click.option(
        "--full-frame/--centre-crop",
        default=None,
        show_default="full-frame; centre-crop with --recipe paper",
        help="All of the picture as a square, or the middle 7/8 of it.",
    ),
    click.option("--bit-depth", type=int, default=16, help="Of pictures with more than 8 bits a channel."),
    click.option("--recipe", type=click.Choice(list(RECIPES)), default="default", help="paper: the table as printed."),
    click.option("--levels", type=_Levels(), show_default=_BY_PRESET, help="timm's out_indices, as in 2,3."),
    click.option("--patch-size", type=int, show_default=_BY_PRESET, help="s, odd."),
    click.option("--aggregation", type=click.Choice(AGGREGATIONS), show_default=_BY_PRESET, help="Of patch features."),
    click.option("--start", type=click.Choice(STARTS), show_default=_BY_PRESET, help="Where the adapter starts."),
    click.option("--dim", type=int, show_default=_BY_PRESET, help="D, the adapter's output size."),
    click.option("--coreset", type=float, show_default=_BY_PRESET, help="The bank's share of the fit patches."),
    click.option("--epochs", type=int, show_default=_BY_PRESET, help="0: no training; from the raw start, PatchCore."),
    click.option("--lr", type=float, show_default=_BY_PRESET, help="Learning rate, before --max-steps scales it."),
    click.option(
        "--max-steps", type=int, show_default="3000; 0 with --recipe paper", help="0: the epochs' full count."
    ),
    click.option("--batch-size", type=int, default=512, help="N, patches a training step."),
    click.option("--batch-images", type=int, default=0, help="Images that these come from; 0: any."),
    click.option(
        "--sigma", type=_Sigma(), default="neighbour", help="Of eq. 1; 'neighbour': squared distance to the k-th."
    ),
    click.option("--neighbours", type=int, default=5, help="k of eqs. 2-4, at least 4."),
    click.option("--alpha", type=float, default=0.5, help="Share of the pairwise similarity, eq. 6."),
    click.option("--margin", type=float, default=1.0, help="m of eq. 7."),
    click.option("--gamma", type=float, default=0.999, help="EMA rate of eq. 8, before --max-steps scales it."),
    click.option("--reweight", type=int, default=9, help="b of eq. 10; 1: no reweighting."),
    click.option("--fusion", type=click.Choice(FUSIONS), default="patch", help="Normalise patch or image scores."),
    _holdout,
    _false_alarms,
    click.option("--seed", type=int, default=0, help="Of initialisation and batches."),
    click.option("--chunk", type=int, default=16, help="Images of a forward pass."),
    click.option("--maps/--no-maps", default=False, help="Write anomaly maps on the pictures' own pixels."),
    click.option("--scratch", type=click.Path(), show_default="OUT/_scratch", help="Folder for patch features."),
    _scratch_gb,
    click.option("--keep-features", is_flag=True, help="Leave the features when their categories are done."),
    click.option("--rehash", is_flag=True, help="Read every file, also those whose size and time have not changed."),
    click.option("--strict", is_flag=True, help="Unreadable files are exit code 1."),
    click.option("--resume/--fresh", default=True, help="Go on with the run in --out, or replace it."),
    click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing."),
    _where,
)


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="reconpatch-ray")
def main() -> None:
    """ReConPatch on Ray: what good parts look like, learned from good images alone; scores as Parquet."""


@main.command()
@_data
@_out
@click.option("--image-size", type=int, default=480, help="S, the network's input in pixels.")
@click.option("--backbone", "backbones", multiple=True, default=ENSEMBLE_BACKBONES, help="timm's name; repeatable.")
@_recipe
def ensemble(**options: Any) -> None:
    """Fit, score and fuse several networks on every category of a folder."""
    _fit("ensemble", "ensemble", options)


@main.command()
@_data
@_out
@click.option("--image-size", type=int, default=224, help="S, the network's input in pixels.")
@click.option("--backbone", default=SINGLE_BACKBONE, help="timm's name.")
@click.option("--preset", type=click.Choice(["single", "segmentation"]), default="single", help="Row of the paper.")
@_recipe
def single(backbone: str, preset: str, **options: Any) -> None:
    """Fit and score one network: an ensemble of one, with the same files."""
    _fit("single", preset, {**options, "backbones": (backbone,)})


@main.command()
@click.option(
    "--out", default="demo-run", type=click.Path(), help="Folder for the run's files; an old demo is replaced."
)
@click.option("--epochs", type=int, show_default=_BY_PRESET, help="0: no training; from the raw start, PatchCore.")
@click.option("--max-steps", type=int, default=300, help="Training steps a unit.")
@click.option("--maps/--no-maps", default=False, help="Write anomaly maps on the pictures' own pixels.")
@click.option("--seed", type=int, default=0, help="Of initialisation and batches.")
@_where
def demo(out: str, **options: Any) -> None:
    """Real solar cells, real weights, no model hub, one machine, a few minutes."""
    try:
        data = prepare_demo(Path(out))
    except UsageError as error:
        _refuse(error)
    backbones = {"data": str(data), "out": out, "image_size": 224, "backbones": DEMO_BACKBONES}
    _fit("demo", "ensemble", {**options, **backbones, "resume": False})


@main.command(name="evaluate")
@click.option("--run", "run_folder", required=True, type=click.Path(), help="A run's folder.")
@click.option("--data", type=click.Path(), show_default="that of the run", help="Where the masks are.")
@click.option("--false-alarms", type=float, show_default="that of the run", help="Wished rate among good images.")
@click.option("--maps/--no-maps", default=None, show_default="as the run has them", help="Write anomaly maps.")
@_where
def evaluate_command(run_folder: str, **options: Any) -> None:
    """Metrics, maps and verdicts again, from the Parquet and the masks; nothing is trained."""
    _do(lambda: evaluate(run_folder, Screen(), **options))


@main.command(name="score")
@click.option("--model", required=True, type=click.Path(), help="A run's folder.")
@click.option("--images", required=True, type=click.Path(), help="Folder of images, unlabelled.")
@click.option("--category", required=True, help="Whose model scores them.")
@click.option("--out", required=True, type=click.Path(), help="Folder for the scores.")
@_weights
@click.option("--maps/--no-maps", default=False, help="Write anomaly maps on the pictures' own pixels.")
@click.option("--scratch", type=click.Path(), show_default="OUT/_scratch", help="Folder for patch features.")
@click.option("--strict", is_flag=True, help="Unreadable files are exit code 1.")
@_where
def score_command(**options: Any) -> None:
    """Score new images with a category's model."""
    _do(lambda: score_new(NewImages(**options), Screen()))


@main.command(name="inspect")
@_data
@_categories
@click.option("--holdout", type=float, default=0.2, help="Share of good images that would be held out.")
@click.option("--bit-depth", type=int, default=16, help="Of pictures with more than 8 bits a channel.")
def inspect_command(**options: Any) -> None:
    """What a folder of categories holds and what is odd about it, before an hour is spent."""
    _do(lambda: inspect(Screen(), **options))


@main.command(name="paper-tables")
@_config_file
@_data
@click.option("--out", required=True, type=click.Path(), help="Folder for the runs' folders and tables.parquet.")
@click.option(
    "--table", "tables", type=click.IntRange(1, 6), multiple=True, show_default="all", help="Of the paper; repeatable."
)
@_categories
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    show_default="the paper's",
    help="timm's name; repeatable: where the paper has one network the first is used, in ensembles all are.",
)
@_weights
@click.option("--image-size", type=int, show_default="the paper's", help="S of every run, for a trial.")
@click.option("--epochs", type=int, show_default="the paper's", help="Of every adapter.")
@click.option(
    "--max-steps",
    type=int,
    show_default="0",
    help="Of every adapter; 0: the epochs' full count, which takes days on CPUs. The tables say what was changed.",
)
@click.option("--scratch", type=click.Path(), show_default="in each run's folder", help="Folder for patch features.")
@_scratch_gb
@click.option("--dry-run", is_flag=True, help="List the runs; write nothing.")
@_where
def paper_tables_command(**options: Any) -> None:
    """The runs behind Tables 1-6 of the paper, on MVTec AD; ours beside the published figures.

    Each run is a folder of --out, as `single` and `ensemble` leave it: a second call goes on where the first stopped.
    """
    _do(lambda: paper_tables(Screen(), **options))


_MEMBER_FIELDS = ("levels", "patch_size", "aggregation", "start", "dim", "coreset", "epochs", "lr")


def _fit(command: str, preset: str, options: dict[str, Any]) -> None:
    options = dict(options)
    only_say = options.pop("dry_run", False)
    options["fresh"] = not options.pop("resume")
    overrides = {name: options.pop(name, None) for name in _MEMBER_FIELDS}
    backbones = options.pop("backbones")
    options = with_recipe(options)

    def work() -> int:
        members = resolve_members(preset, backbones, options["image_size"], overrides)
        return (dry_run if only_say else run)(RunConfig(command=command, members=members, **options), Screen())

    _do(work)


def _do(work: Callable[[], int]) -> NoReturn:
    """Run a command's work and leave with its exit code; bad usage is one line."""
    received: list[int] = []

    def interrupt(signum: int, _frame: object) -> None:
        # Ray turns whatever a handler raises into exit code 1, but for KeyboardInterrupt.
        received.append(signum)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = work()
    except (UsageError, BackboneError, ModelError) as error:
        _refuse(error)
    except OSError as error:  # a full disk, a folder that cannot be written, a store that cannot be reached
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        code = 1
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = 143 if received else 130
    sys.exit(code)


def _refuse(error: Exception) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
