"""The options that several commands have, and those of a recipe."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from pipelines.config import ENSEMBLE_BACKBONES, RECIPES, RunConfig
from pipelines.config_file import options_from_file
from pipelines.layouts import AUTO, LAYOUTS
from pipelines.progress import in_one_line
from pipelines.storage import UnansweredError
from pipelines.usage import UsageError
from reconpatch.backbones import BackboneError
from reconpatch.model import FUSIONS, ModelError
from reconpatch.onnx_graph import ExportError
from reconpatch.patches import AGGREGATIONS
from reconpatch.starts import STARTS

BY_PRESET = "by preset"


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


def options_of(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def refuse(error: Exception) -> NoReturn:
    """Bad usage: one line, exit code 2."""
    click.echo(f"error: {in_one_line(error)}", err=True)
    sys.exit(2)


def _from_file(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        try:
            ctx.default_map = {**(ctx.default_map or {}), **options_from_file(value, ctx.command)}
        except UsageError as error:
            refuse(error)


def _by_recipe(name: str) -> str:
    """What an option is that nobody gives."""
    return f"{RECIPES['default'][name]:g}; {RECIPES['paper'][name]:g} with --recipe paper"


config_file_option = click.option(
    "--config",
    type=click.Path(),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="YAML or JSON of these options' names; the command line wins.",
)
where_options = options_of(
    click.option(
        "--workers",
        type=int,
        show_default="those there are CPUs and GPUs for",
        help="Units that run at once; on a cluster that grows, those it will have room for. One with a GPU has the use "
        "of the CPUs beside it.",
    ),
    click.option("--threads-per-unit", type=int, default=RunConfig.threads_per_unit, help="CPU threads of a unit."),
    click.option(
        "--gpus-per-actor",
        type=float,
        default=RunConfig.gpus_per_actor,
        help="GPUs of a unit; above 0 it computes on CUDA.",
    ),
    click.option("--address", show_default="RAY_ADDRESS, else a Ray started here", help="The Ray cluster."),
)
data_option = click.option(
    "--data", required=True, type=click.Path(), help="Folder of images, or a list of them (.csv, .parquet)."
)
layout_option = click.option(
    "--layout",
    type=click.Choice([AUTO, *LAYOUTS]),
    default=RunConfig.layout,
    help="How the images lie; auto: found by itself.",
)
out_option = click.option("--out", required=True, type=click.Path(), help="Folder for the run's files.")
categories_option = click.option(
    "--category", "categories", multiple=True, show_default="all", help="Only this category; repeatable."
)
weights_option = click.option("--weights", type=click.Path(), help="Folder with <backbone>.safetensors or .pth.")
scratch_gb_option = click.option(
    "--scratch-gb", type=float, default=RunConfig.scratch_gb, help="Room for features; categories go in waves."
)
holdout_option = click.option(
    "--holdout",
    type=float,
    show_default=_by_recipe("holdout"),
    help="Share of good images that no model sees; thresholds come from them.",
)
false_alarms_option = click.option(
    "--false-alarms", type=float, default=RunConfig.false_alarms, help="Wished rate among good images."
)
bit_depth_option = click.option(
    "--bit-depth", type=int, default=RunConfig.bit_depth, help="Of pictures with more than 8 bits a channel."
)
epochs_option = click.option(
    "--epochs", type=int, show_default=BY_PRESET, help="0: no training; from the raw start, PatchCore."
)
seed_option = click.option("--seed", type=int, default=RunConfig.seed, help="Of initialisation and batches.")
maps_option = click.option(
    "--maps/--no-maps", default=RunConfig.maps, help="Write anomaly maps on the pictures' own pixels."
)
scratch_option = click.option(
    "--scratch", type=click.Path(), show_default="OUT/_scratch", help="Folder for patch features."
)
strict_option = click.option("--strict", is_flag=True, help="Unreadable files are exit code 1.")
recipe_options = options_of(
    config_file_option,
    layout_option,
    categories_option,
    weights_option,
    click.option(
        "--full-frame/--centre-crop",
        default=None,
        show_default="full-frame; centre-crop with --recipe paper",
        help="All of the picture as a square, or the middle 7/8 of it.",
    ),
    bit_depth_option,
    click.option(
        "--recipe", type=click.Choice(list(RECIPES)), default=RunConfig.recipe, help="paper: the table as printed."
    ),
    click.option("--levels", type=_Levels(), show_default=BY_PRESET, help="timm's out_indices, as in 2,3."),
    click.option("--patch-size", type=int, show_default=BY_PRESET, help="s, odd."),
    click.option("--aggregation", type=click.Choice(AGGREGATIONS), show_default=BY_PRESET, help="Of patch features."),
    click.option("--start", type=click.Choice(STARTS), show_default=BY_PRESET, help="Where the adapter starts."),
    click.option("--dim", type=int, show_default=BY_PRESET, help="D, the adapter's output size."),
    click.option("--coreset", type=float, show_default=BY_PRESET, help="The bank's share of the fit patches."),
    epochs_option,
    click.option("--lr", type=float, show_default=BY_PRESET, help="Learning rate, before --max-steps scales it."),
    click.option("--max-steps", type=int, show_default=_by_recipe("max_steps"), help="0: the epochs' full count."),
    click.option("--batch-size", type=int, default=RunConfig.batch_size, help="N, patches a training step."),
    click.option(
        "--batch-images", type=int, show_default=_by_recipe("batch_images"), help="Images these come from; 0: any."
    ),
    click.option(
        "--sigma", type=_Sigma(), default="neighbour", help="Of eq. 1; 'neighbour': squared distance to the k-th."
    ),
    click.option("--neighbours", type=int, default=RunConfig.neighbours, help="k of eqs. 2-5, at least 4."),
    click.option("--alpha", type=float, default=RunConfig.alpha, help="Share of the pairwise similarity, eq. 6."),
    click.option("--margin", type=float, default=RunConfig.margin, help="m of eq. 7."),
    click.option(
        "--gamma", type=float, default=RunConfig.gamma, help="EMA rate of eq. 8, before --max-steps scales it."
    ),
    click.option("--reweight", type=int, default=RunConfig.reweight, help="b of eq. 10; 1: no reweighting."),
    click.option(
        "--fusion", type=click.Choice(FUSIONS), default=RunConfig.fusion, help="Normalise patch or image scores."
    ),
    holdout_option,
    false_alarms_option,
    seed_option,
    click.option("--chunk", type=int, default=RunConfig.chunk, help="Images of a forward pass."),
    maps_option,
    click.option("--report/--no-report", default=RunConfig.report, help="Write pages to look at when all is done."),
    scratch_option,
    scratch_gb_option,
    click.option("--keep-features", is_flag=True, help="Leave the features when their categories are done."),
    click.option("--rehash", is_flag=True, help="Read every file, also those whose size and time have not changed."),
    strict_option,
    where_options,
)
run_options = options_of(
    click.option("--resume/--fresh", default=True, help="Go on with the run in --out, or replace it."),
    click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing."),
)
registry_option = click.option("--registry", required=True, type=click.Path(), help="Folder of the models' versions.")
category_option = click.option("--category", required=True, help="Whose models.")
model_option = click.option("--model", required=True, type=click.Path(), help="A run's folder, or a registry.")
ensemble_options = options_of(
    click.option("--image-size", type=int, default=480, help="S, the network's input in pixels."),
    click.option("--backbone", "backbones", multiple=True, default=ENSEMBLE_BACKBONES, help="timm's name; repeatable."),
)


def do(work: Callable[[], int]) -> NoReturn:
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
        refuse(error)
    except (ExportError, OSError, UnansweredError) as error:  # a full disk, a store that is not to be reached
        click.echo(f"error: {in_one_line(error)}", err=True)
        code = 1
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = 143 if received else 130
    sys.exit(code)
