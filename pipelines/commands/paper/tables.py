"""The runs behind Tables 1-6 of the paper, each an ordinary run directory in --out.

Calling the command again therefore resumes runs that were interrupted, and only prints those that are complete.
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
    """A run of the paper.

    Attributes:
        preset, image_size: the row of the presets that the run starts from.
        backbones: timm's names of its networks.
        overrides: field of Member → value of the paper's table. Values that equal the preset's are here as well where
            small networks, whose presets differ, have to follow the paper.
    """

    preset: str
    image_size: int
    backbones: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


_WRN50, _WRN101 = (SINGLE_BACKBONE,), ENSEMBLE_BACKBONES[:1]
_PATCHCORE = {"epochs": 0}
_MORE_LAYERS = {"patch_size": 5, "layers": (1, 2, 3)}

# Folder below --out → run; sections 4.1-4.3 of the paper.
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
        data: path or URI of MVTec AD.
        out: path or URI of the folder for the runs' folders and the tables.
        tables: numbers of the paper's tables; all by default.
        categories: of the data; all that the paper has by default.
        backbones: replace the paper's networks: runs of one network use the first one, ensembles all of them.
        image_size: of every run; None for the paper's.
        epochs: of every adapter; None for the paper's.
        max_steps: of every adapter; None for the paper's.
        dry_run: list the runs and write nothing.
        weights, scratch, scratch_gb, workers, threads_per_unit, gpus_per_actor, address: of every run, as in
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
        """Return what differs from the paper besides networks, for the line above every table."""
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
    """Complete the tables' runs, print our figures beside the published ones, and write tables.parquet and .csv.

    Args:
        options: of the command line.
        console: for progress and tables.

    Returns:
        The largest exit code of the runs.

    Raises:
        UsageError: an option is invalid, or a run is in use.
        BackboneError: a network does not exist or has no weights; raised before anything is computed.
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
    """Return the categories of the data that the paper has, in the paper's order; the others are left out."""
    existing = find_categories(Store.of(data), asked)
    chosen = tuple(category for category in CATEGORIES if category in existing)
    if not chosen:
        raise UsageError(f"--data {data}: none of {', '.join(existing[:20])} is of MVTec AD: {', '.join(CATEGORIES)}.")
    for category in existing:
        if category not in chosen:
            console.warn(f"{category}: the paper has no such category; it is left out.")
    return chosen


def _config(name: str, options: PaperOptions, categories: tuple[str, ...]) -> RunConfig:
    """Return a run's configuration: the paper's, with the user's changes.

    Args:
        name: of the run, in `RUNS`.
        options: of the command line.
        categories: that the run is about.
    """
    paper_run = RUNS[name]
    is_single = len(paper_run.backbones) == 1
    networks = (options.backbones[:1] if is_single else options.backbones) or paper_run.backbones
    overrides = dict(paper_run.overrides)
    if options.epochs is not None and overrides.get("epochs") != 0:  # the identity adapter is not trained
        overrides["epochs"] = options.epochs
    return RunConfig(
        command="single" if is_single else "ensemble",
        out=named_below(options.out, name),
        categories=categories,
        # A run at another image size still follows the recipe of the paper's size.
        members=resolve_members(paper_run.preset, networks, paper_run.image_size, overrides, recipe="paper"),
        image_size=paper_run.image_size if options.image_size is None else options.image_size,
        **with_recipe({"recipe": "paper", **{field: getattr(options, field) for field in _OF_EVERY_RUN}}),
    )


def shared(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Return run → the run whose results stand for it.

    That is a run with the same members at the same image size, or an ensemble with its only member: ensembles keep
    their members' results, so that WRN-101 at 480 is not computed twice.

    Args:
        configs: run → its configuration.
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
    """Load every network once, so that missing weights are reported now and not after days of other runs."""
    loaded: set[tuple[Any, ...]] = set()
    for config in configs:
        networks = {(member.backbone, member.layers, config.image_size): member for member in config.members}
        members = tuple(member for key, member in networks.items() if key not in loaded)
        if members:
            load_networks(replace(config, members=members))
        loaded |= set(networks)


def _measured(folder: str, config: RunConfig) -> Measured:
    """Return a run's metrics of the requested categories, from the folder of the run that stands for it."""
    model = "ensemble" if len(config.members) > 1 else config.members[0].backbone
    rows = [MetricsRow.from_row(row) for row in read_rows(Store.of(folder), METRICS_FILE)]
    return {row.category: row for row in rows if row.model == model and row.category in config.categories}


def _list_runs(
    console: Console, configs: Mapping[str, RunConfig], holders: Mapping[str, str], tables: Sequence[PaperTable]
) -> None:
    header = ["run", "tables", "image size", "networks", "layers", "s", "D", "coreset", "epochs", "lr"]
    lines = []
    for name, config in configs.items():
        numbers = [str(table.number) for table in tables if any(holders[row.run] == name for row in table.rows)]
        first = config.members[0]
        layers = ",".join(map(str, first.layers))
        networks = "\n".join(member.backbone for member in config.members)
        dim = str(first.dim) if first.epochs else "-"
        recipe = [layers, str(first.patch_size), dim, f"{first.coreset:g}", str(first.epochs), f"{first.lr:g}"]
        lines.append([name, ",".join(numbers), str(config.image_size), networks, *recipe])
    console.table(header, lines)
