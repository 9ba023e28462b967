"""The runs of Tables 1-6 of the paper, each in a run directory below --out.

Running the command again therefore resumes interrupted runs, and only prints the results of complete ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.commands.paper.published import CATEGORIES, TABLES, PaperTable
from pipelines.commands.paper.side_by_side import COMPARED, Measured, compared_rows, show
from pipelines.commands.run import run
from pipelines.config.networks import load_networks
from pipelines.config.presets import ENSEMBLE_BACKBONES, SINGLE_BACKBONE, resolve_members, with_recipe
from pipelines.config.run_config import RunConfig
from pipelines.data.dataset import find_categories
from pipelines.errors import UsageError
from pipelines.storage.parquet import read_rows, write_rows
from pipelines.storage.paths import METRICS_FILE
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store, named_below
from pipelines.tracking.console import Console
from pipelines.tracking.metrics_table import csv_of

TABLES_FILE, TABLES_CSV = "tables.parquet", "tables.csv"


@dataclass(frozen=True)
class PaperRun:
    """The settings of a run of the paper.

    Attributes:
        preset, image_size: Preset, and side of the images in pixels, that select the default settings.
        backbones: timm names of the backbones.
        overrides: Field of `Member` → value of the paper. Values that equal those of the preset are repeated if small
            backbones, whose presets differ, must follow the paper too.
    """

    preset: str
    image_size: int
    backbones: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


_WRN50, _WRN101 = (SINGLE_BACKBONE,), ENSEMBLE_BACKBONES[:1]
_PATCHCORE = {"epochs": 0}
_MORE_LAYERS = {"patch_size": 5, "layers": (1, 2, 3)}

# Name of the folder below --out → run. Source: sections 4.1-4.3 of the paper.
RUNS: Mapping[str, PaperRun] = {
    "single": PaperRun("single", 224, _WRN50, {"dim": 512}),
    "single-d1024-c25": PaperRun("single", 224, _WRN50, {"dim": 1024, "coreset": 0.25}),
    "single-d1024-c10": PaperRun("single", 224, _WRN50, {"dim": 1024, "coreset": 0.1}),
    "single-d1024": PaperRun("single", 224, _WRN50, {"dim": 1024}),
    "single-d256": PaperRun("single", 224, _WRN50, {"dim": 256}),
    "single-d128": PaperRun("single", 224, _WRN50, {"dim": 128}),
    "single-d64": PaperRun("single", 224, _WRN50, {"dim": 64}),
    "single-s5": PaperRun("single", 224, _WRN50, {"dim": 512, "patch_size": 5}),
    "segmentation": PaperRun("segmentation", 224, _WRN50, {"dim": 512, **_MORE_LAYERS}),
    "single-480": PaperRun("single", 480, _WRN101),
    "ensemble-320": PaperRun("ensemble", 320, ENSEMBLE_BACKBONES),
    "ensemble-480": PaperRun("ensemble", 480, ENSEMBLE_BACKBONES),
    "patchcore": PaperRun("single", 224, _WRN50, _PATCHCORE),
    "patchcore-c25": PaperRun("single", 224, _WRN50, {**_PATCHCORE, "coreset": 0.25}),
    "patchcore-segmentation": PaperRun("segmentation", 224, _WRN50, {**_PATCHCORE, **_MORE_LAYERS}),
    "patchcore-480": PaperRun("single", 480, _WRN101, _PATCHCORE),
    "patchcore-ensemble-320": PaperRun("ensemble", 320, ENSEMBLE_BACKBONES, _PATCHCORE),
    "patchcore-ensemble-480": PaperRun("ensemble", 480, ENSEMBLE_BACKBONES, _PATCHCORE),
}


@dataclass(frozen=True, kw_only=True)
class PaperOptions:
    """Options of `reconpatch-run paper-tables`.

    Attributes:
        data: Path or URI of the dataset MVTec AD.
        out: Path or URI of the folder for the run directories and the tables.
        tables: Numbers of the tables to compute (1-6); empty for all.
        categories: Categories to use; empty for all categories of the data that the paper has.
        backbones: timm names that replace the backbones of the paper. Runs with one backbone use the first name,
            ensembles use all names. Empty for the backbones of the paper.
        image_size: Side of the images in pixels, for every run; None for the size of the paper.
        epochs: Training epochs of every adapter; None for the number of the paper.
        max_steps: Maximum number of training steps of every adapter; None for the number of the paper.
        dry_run: Whether to list the runs without writing files.
        weights, scratch, scratch_gb, workers, threads_per_unit, gpus_per_actor, address: Settings of every run, as in
            `RunConfig`.
    """

    data: str
    out: str
    tables: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    image_size: int | None = None
    epochs: int | None = None
    max_steps: int | None = None
    dry_run: bool = False
    weights: str | None = RunConfig.weights
    scratch: str | None = RunConfig.scratch
    scratch_gb: float = RunConfig.scratch_gb
    workers: int | None = RunConfig.workers
    threads_per_unit: int = RunConfig.threads_per_unit
    gpus_per_actor: float = RunConfig.gpus_per_actor
    address: str | None = RunConfig.address

    def changes(self) -> list[str]:
        """Return the settings, except backbones, that differ from the paper, such as '96 px' or '3 epochs'."""
        values = {"px": self.image_size, "epochs": self.epochs, "steps at most": self.max_steps}
        return [f"{value} {unit}" for unit, value in values.items() if value is not None]


_OF_EVERY_RUN = (
    "data",
    "max_steps",
    "weights",
    "scratch",
    "scratch_gb",
    "workers",
    "threads_per_unit",
    "gpus_per_actor",
    "address",
)


def paper_tables(options: PaperOptions, console: Console) -> int:
    """Complete the runs of the tables, print our figures and the published ones, and write tables.parquet and .csv.

    Args:
        options: Options of the command line.
        console: Console for progress, warnings and tables.

    Returns:
        The largest exit code of the runs.

    Raises:
        UsageError: An option is invalid, or another process uses a run directory.
        BackboneError: A backbone does not exist or has no weights. Nothing has been computed.
    """
    tables = [table for table in TABLES if not options.tables or table.number in options.tables]
    needed = {row.run for table in tables for row in table.rows}
    categories = _papers_categories(options.data, options.categories, console)
    configs = {name: _config(name, options, categories) for name in RUNS if name in needed}
    holders = shared(configs)
    due = [name for name in configs if name in holders.values()]
    if options.dry_run:
        _list_runs(console, {name: configs[name] for name in due}, holders, tables)
        return 0
    _require_networks(configs[name] for name in due)
    code = 0
    for number, name in enumerate(due, start=1):
        console.say(f"\nrun {number}/{len(due)}: {name}")
        code = max(code, run(configs[name], console))
    measured = {name: _measured(configs[holders[name]].out, configs[name]) for name in configs}
    rows = []
    for table in tables:
        compared = compared_rows(table, measured, categories, holders)
        rows += compared
        networks = dict.fromkeys(member.backbone for row in table.rows for member in configs[row.run].members)
        show(console, table, compared, [", ".join(networks), *options.changes()])
    store = Store.of(options.out)
    write_rows(store, TABLES_FILE, rows, COMPARED)
    store.write(TABLES_CSV, csv_of([row.row() for row in rows], COMPARED.names))
    console.say(f"\ntables   {store.below(TABLES_FILE).uri} (and .csv)")
    return code


def _papers_categories(data: str, asked: Sequence[str], console: Console) -> tuple[str, ...]:
    """Return the categories of the data that the paper has, in the order of the paper; warn of the others."""
    existing = find_categories(Store.of(data), asked)
    chosen = tuple(category for category in CATEGORIES if category in existing)
    if not chosen:
        raise UsageError(
            f"--data {data}: none of {', '.join(existing[:20])} is a category of MVTec AD. "
            f"Its categories are {', '.join(CATEGORIES)}."
        )
    for category in existing:
        if category not in chosen:
            console.warn(f"{category} is skipped: it is not a category of the paper.")
    return chosen


def _config(name: str, options: PaperOptions, categories: tuple[str, ...]) -> RunConfig:
    """Return the configuration of a run: the settings of the paper with the changes of the user.

    Args:
        name: Name of the run in `RUNS`.
        options: Options of the command line.
        categories: Categories of the run.
    """
    paper_run = RUNS[name]
    is_single = len(paper_run.backbones) == 1
    networks = (options.backbones[:1] if is_single else options.backbones) or paper_run.backbones
    overrides = dict(paper_run.overrides)
    if options.epochs is not None and overrides.get("epochs") != 0:  # The identity adapter is not trained.
        overrides["epochs"] = options.epochs
    return RunConfig(
        command="single" if is_single else "ensemble",
        out=named_below(options.out, name),
        categories=categories,
        # The recipe is that of the paper's image size, also for runs at another size.
        members=resolve_members(paper_run.preset, networks, paper_run.image_size, overrides, recipe="paper"),
        image_size=paper_run.image_size if options.image_size is None else options.image_size,
        **with_recipe({"recipe": "paper", **{field: getattr(options, field) for field in _OF_EVERY_RUN}}),
    )


def shared(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Return for each run the run whose results are used for it.

    This is a run with the same members and the same image size, or an ensemble that contains the single member of the
    run: ensembles also store the results of their members. WRN-101 at 480 px is thus not computed twice.

    Args:
        configs: Name of a run → its configuration.

    Returns:
        Name of a run → name of the run whose results are used.
    """
    holders = {}
    for name, config in configs.items():
        members = set(config.members)
        candidates = [
            other
            for other, candidate in configs.items()
            if candidate.image_size == config.image_size
            and (members == set(candidate.members) or (len(members) == 1 and members < set(candidate.members)))
        ]
        holders[name] = max(candidates, key=lambda other: len(configs[other].members))
    return holders


def _require_networks(configs: Iterable[RunConfig]) -> None:
    """Load every backbone once, to report missing weights before the first run starts, not days later."""
    loaded: set[tuple[Any, ...]] = set()
    for config in configs:
        networks = {(member.backbone, member.layers, config.image_size): member for member in config.members}
        members = tuple(member for key, member in networks.items() if key not in loaded)
        if members:
            load_networks(replace(config, members=members))
        loaded |= set(networks)


def _measured(folder: str, config: RunConfig) -> Measured:
    """Return the metrics of a run for the requested categories, from the folder that has its results."""
    model = "ensemble" if len(config.members) > 1 else config.members[0].backbone
    rows = [MetricsRow.from_row(row) for row in read_rows(Store.of(folder), METRICS_FILE)]
    return {row.category: row for row in rows if row.model == model and row.category in config.categories}


def _list_runs(
    console: Console, configs: Mapping[str, RunConfig], holders: Mapping[str, str], tables: Sequence[PaperTable]
) -> None:
    """Print one line per run with its settings."""
    header = ["run", "tables", "image size", "backbones", "layers", "s", "D", "coreset", "epochs", "lr"]
    lines = []
    for name, config in configs.items():
        numbers = [str(table.number) for table in tables if any(holders[row.run] == name for row in table.rows)]
        first = config.members[0]
        layers = ",".join(map(str, first.layers))
        networks = "\n".join(member.backbone for member in config.members)
        dim = str(first.dim) if first.epochs else "-"
        recipe = [layers, str(first.patch_size), dim, f"{first.coreset:g}", str(first.epochs), f"{first.lr:g}"]
        lines.append([name, ",".join(numbers), str(config.image_size), networks, *recipe])
    console.table(header, lines, names=4)
