"""The runs behind Tables 1-6 of the paper, each an ordinary run directory below --out.

So each goes on where it stopped, and a second call only prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.config import ENSEMBLE_BACKBONES, SINGLE_BACKBONE, RunConfig, resolve_members, with_recipe
from pipelines.dataset import find_categories
from pipelines.networks import load_networks
from pipelines.paper_comparison import COMPARED, Measured, compared_rows, show
from pipelines.paper_values import CATEGORIES, TABLES, PaperTable
from pipelines.progress import Screen
from pipelines.record import csv_of
from pipelines.run import run
from pipelines.rundir import METRICS_FILE
from pipelines.storage import Store, named_below
from pipelines.tables import read_rows, write_rows
from pipelines.usage import UsageError

TABLES_FILE, TABLES_CSV = "tables.parquet", "tables.csv"


@dataclass(frozen=True)
class PaperRun:
    """A run of the paper.

    Attributes:
        preset, image_size: the row of the presets it is.
        overrides: what the paper's table says otherwise. What it says as the preset does stands here too where small
            networks, whose presets differ, are to follow it.
    """

    preset: str
    image_size: int
    backbones: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


_WRN50, _WRN101 = (SINGLE_BACKBONE,), ENSEMBLE_BACKBONES[:1]
_PATCHCORE = {"epochs": 0}
_MORE_LEVELS = {"patch_size": 5, "levels": (1, 2, 3)}

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
    "segmentation": PaperRun("segmentation", 224, _WRN50, {"dim": 512, **_MORE_LEVELS}),
    "single-480": PaperRun("single", 480, _WRN101),
    "ensemble-320": PaperRun("ensemble", 320, ENSEMBLE_BACKBONES),
    "ensemble-480": PaperRun("ensemble", 480, ENSEMBLE_BACKBONES),
    "patchcore": PaperRun("single", 224, _WRN50, _PATCHCORE),
    "patchcore-c25": PaperRun("single", 224, _WRN50, {**_PATCHCORE, "coreset": 0.25}),
    "patchcore-segmentation": PaperRun("segmentation", 224, _WRN50, {**_PATCHCORE, **_MORE_LEVELS}),
    "patchcore-480": PaperRun("single", 480, _WRN101, _PATCHCORE),
    "patchcore-ensemble-320": PaperRun("ensemble", 320, ENSEMBLE_BACKBONES, _PATCHCORE),
    "patchcore-ensemble-480": PaperRun("ensemble", 480, ENSEMBLE_BACKBONES, _PATCHCORE),
}


def paper_tables(
    screen: Screen,
    data: str,
    out: str,
    *,
    tables: Sequence[int] = (),
    categories: Sequence[str] = (),
    backbones: Sequence[str] = (),
    image_size: int | None = None,
    epochs: int | None = None,
    dry_run: bool = False,
    **options: Any,
) -> int:
    """Do what is missing of the tables' runs, print ours beside the published, and write tables.parquet and .csv.

    Args:
        tables: their numbers; all by default.
        categories: of the data; all that the paper has by default.
        backbones: instead of the paper's networks: one network's runs take the first, ensembles take all.
        image_size: of every run, instead of the paper's.
        epochs: of every adapter, instead of the paper's.
        dry_run: list the runs and write nothing.
        options: fields of RunConfig for every run; None leaves `max_steps` to the paper.

    Returns:
        The worst run's exit code.

    Raises:
        UsageError: bad input, or a run that is in use.
        BackboneError: a network that is not there or has no weights, before anything is computed.
    """
    wanted = [table for table in TABLES if not tables or table.number in tables]
    chosen = _papers_categories(data, categories, screen)
    needed = {row.run for table in wanted for row in table.rows}
    configs = {}
    for name, paper_run in RUNS.items():
        if name in needed:
            resolved = _resolved(paper_run, backbones, image_size, epochs, options)
            configs[name] = RunConfig(data=data, out=named_below(out, name), categories=chosen, **resolved)
    holders = shared(configs)
    due = [name for name in configs if name in holders.values()]
    if dry_run:
        _list_runs(screen, {name: configs[name] for name in due}, holders, wanted)
        return 0
    _require_networks(configs[name] for name in due)
    code = 0
    for number, name in enumerate(due, start=1):
        screen.say(f"\nrun {number}/{len(due)}: {name}")
        code = max(code, run(configs[name], screen))
    measured = {name: _measured(configs[holders[name]].out, configs[name]) for name in configs}
    rows = []
    for table in wanted:
        compared = compared_rows(table, measured, chosen, holders)
        rows += compared
        networks = dict.fromkeys(member.backbone for row in table.rows for member in configs[row.run].members)
        show(screen, table, compared, [", ".join(networks), *_changed(image_size, epochs, options.get("max_steps"))])
    store = Store.of(out)
    write_rows(store, TABLES_FILE, rows, COMPARED)
    store.write(TABLES_CSV, csv_of(rows, COMPARED.names))
    screen.say(f"\ntables   {store.below(TABLES_FILE).uri} (and .csv)")
    return code


def _changed(image_size: int | None, epochs: int | None, max_steps: int | None) -> list[str]:
    """What the user gave in the paper's place, besides networks: it stands above every table."""
    values = {"px": image_size, "epochs": epochs, "steps at most": max_steps}
    return [f"{value} {unit}" for unit, value in values.items() if value is not None]


def _papers_categories(data: str, asked: Sequence[str], screen: Screen) -> tuple[str, ...]:
    """The data's categories that the paper has, in its order; others have nothing to stand beside and are left out."""
    found = find_categories(Store.of(data), asked)
    chosen = tuple(category for category in CATEGORIES if category in found)
    if not chosen:
        raise UsageError(f"--data {data}: none of {', '.join(found[:20])} is of MVTec AD: {', '.join(CATEGORIES)}.")
    for category in found:
        if category not in chosen:
            screen.warn(f"{category}: the paper has no such category; it is left out.")
    return chosen


def _resolved(
    paper_run: PaperRun,
    backbones: Sequence[str],
    image_size: int | None,
    epochs: int | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """A run's fields of RunConfig, with what the user gave in the paper's place."""
    alone = len(paper_run.backbones) == 1
    networks = tuple(backbones[:1] if alone else backbones) or paper_run.backbones
    overrides = dict(paper_run.overrides)
    if epochs is not None and overrides.get("epochs") != 0:  # the identity adapter has none
        overrides["epochs"] = epochs
    return {
        "command": "single" if alone else "ensemble",
        # Another size is still the recipe of the paper's.
        "members": resolve_members(paper_run.preset, networks, paper_run.image_size, overrides, "paper"),
        "image_size": paper_run.image_size if image_size is None else image_size,
        **with_recipe({**options, "recipe": "paper"}),
    }


def shared(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Run → the run that is done for it: one of the same members at the same size, or one that has its only member.

    An ensemble leaves its members' own figures: WRN-101 at 480 is not computed twice.
    """
    found = {}
    for name, config in configs.items():
        members = set(config.members)
        holders = [
            other
            for other, each in configs.items()
            if each.image_size == config.image_size
            and (members == set(each.members) or (len(members) == 1 and members < set(each.members)))
        ]
        found[name] = max(holders, key=lambda other: len(configs[other].members))
    return found


def _require_networks(configs: Iterable[RunConfig]) -> None:
    """Load every network once: weights that are missing are said now, not when the runs before have taken days."""
    loaded: set[tuple[Any, ...]] = set()
    for config in configs:
        new = {(each.backbone, each.levels, config.image_size): each for each in config.members}
        members = tuple(member for key, member in new.items() if key not in loaded)
        if members:
            load_networks(replace(config, members=members))
        loaded |= set(new)


def _measured(folder: str, config: RunConfig) -> Measured:
    """A run's figures, from the folder of the run that was done for it; of the asked categories alone."""
    model = "ensemble" if len(config.members) > 1 else config.members[0].backbone
    rows = read_rows(Store.of(folder), METRICS_FILE)
    return {row["category"]: row for row in rows if row["model"] == model and row["category"] in config.categories}


def _list_runs(
    screen: Screen, configs: Mapping[str, RunConfig], holders: Mapping[str, str], tables: Sequence[PaperTable]
) -> None:
    header = ["run", "tables", "image size", "networks", "levels", "s", "D", "coreset", "epochs", "lr"]
    lines = []
    for name, config in configs.items():
        behind = [str(each.number) for each in tables if any(holders[row.run] == name for row in each.rows)]
        first = config.members[0]
        levels = ",".join(map(str, first.levels))
        networks = "\n".join(member.backbone for member in config.members)
        dim = str(first.dim) if first.epochs else "-"
        recipe = [levels, str(first.patch_size), dim, f"{first.coreset:g}", str(first.epochs), f"{first.lr:g}"]
        lines.append([name, ",".join(behind), str(config.image_size), networks, *recipe])
    screen.table(header, lines)
