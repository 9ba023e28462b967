"""Run the benchmarks on this machine and print their ratios: python -m benchmarks [NAME]..."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# Set before torch and Ray are imported: both write to the terminal otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import click
import torch
from rich.console import Console

from benchmarks import before_and_after
from benchmarks.compare import Row, TextTable, environment, show
from benchmarks.jobs import extraction, job, memory, scaling, startup
from benchmarks.method import coreset, gpu, patches, scoring, training
from benchmarks.nightly import scale
from pipelines.errors import ReconPatchError

_TABLE_WIDTH = 200  # where the terminal's width is not known


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmarks, as the command line describes them."""

    threads: int
    data: Path | None
    plot: Path | None
    costs: Path | None
    turns: int


_BY_DEFAULT: dict[str, Callable[[Options], Iterable[Row]]] = {
    "coreset": lambda options: coreset.run(options.threads),
    "patches": lambda options: patches.run(options.threads),
    "scoring": lambda options: scoring.run(options.threads),
    "training": lambda options: training.run(options.threads),
    "extraction": lambda options: extraction.run(),
    "startup": lambda options: startup.run(),
    "memory": lambda options: memory.run(options.data),
    "job": lambda options: job.run(options.threads, options.data),
    "scaling": lambda options: scaling.run(options.threads, options.plot),
}
_IF_NAMED: dict[str, Callable[[Options], Iterable[Row]]] = {"gpu": lambda options: gpu.run(options.threads)}
_OWN_TABLES: dict[str, Callable[[Options], Iterable[TextTable]]] = {
    "scale": lambda options: scale.tables(options.threads, options.costs),
    "before-and-after": lambda options: before_and_after.tables(options.turns),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("names", nargs=-1, type=click.Choice([*_BY_DEFAULT, *_IF_NAMED, *_OWN_TABLES]))
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of either side in benchmarks of one process.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of categories for `job` and `memory`; the demo's solar cells by default.",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="File to which `scaling` draws its curves."
)
@click.option(
    "--costs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the costs that `scale` measures: read if it exists, written otherwise.",
)
@click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=before_and_after.TURNS,
    help="Measurements of each side in `before-and-after`.",
)
def main(
    *, names: tuple[str, ...], threads: int, data: Path | None, plot: Path | None, costs: Path | None, turns: int
) -> None:
    """Measure what ReConPatch on Ray costs beside other implementations: everything, or only NAMES.

    Three benchmarks run only if they are named: `scale` measures small nightly runs and predicts large ones, `gpu`
    needs a GPU, `before-and-after` compares this tree with an earlier commit.
    """
    options = Options(threads=threads, data=data, plot=plot, costs=costs, turns=turns)
    torch.set_num_threads(threads)
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=_TABLE_WIDTH)
    console.print(environment(threads), soft_wrap=True)
    rows: list[Row] = []
    try:
        for name in names or _BY_DEFAULT:
            if name in _OWN_TABLES:
                for table in _OWN_TABLES[name](options):
                    table.show(console)
                continue
            with console.status(name):
                rows += (_BY_DEFAULT | _IF_NAMED)[name](options)
            if not console.is_terminal:
                console.print(f"{name} done")
    except ReconPatchError as error:
        raise click.ClickException(str(error)) from None
    if rows:
        show(rows, console)


if __name__ == "__main__":
    main()
