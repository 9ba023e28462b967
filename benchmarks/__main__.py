"""Run the benchmarks on this machine and print their results: python -m benchmarks [NAME]..."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# Set before torch and Ray are imported, because otherwise both write to the terminal.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import click
import torch
from rich.console import Console

from benchmarks import before_and_after, decoding
from benchmarks.compare import Row, TextTable, environment, show
from benchmarks.jobs import extraction, job, memory, scaling, startup
from benchmarks.method import coreset, gpu, patches, scoring, training
from benchmarks.nightly import scale
from pipelines.errors import ReconPatchError

_TABLE_WIDTH = 200  # characters, if the output is not a terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmarks.

    Attributes:
        threads: Threads of this project and of the reference in benchmarks that run in one process.
        data: Folder of categories for `job` and `memory`; None for the demo's solar cells.
        plot: File for the curves of `scaling`; None draws no plot.
        costs: File for the costs that `scale` measures: read if it exists, otherwise written. None uses no file.
        turns: Number of measurements of each side in `before-and-after` and `decoding`.
    """

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
    "decoding": lambda options: decoding.tables(options.turns),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("names", nargs=-1, type=click.Choice([*_BY_DEFAULT, *_IF_NAMED, *_OWN_TABLES]))
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of each side in benchmarks of one process.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of categories for `job` and `memory`. Default: the demo's solar cells.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="File for the plot of `scaling`.")
@click.option(
    "--costs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the costs that `scale` measures: read if it exists, otherwise written.",
)
@click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=before_and_after.TURNS,
    help="Number of measurements of each side in `before-and-after` and `decoding`.",
)
def main(
    *, names: tuple[str, ...], threads: int, data: Path | None, plot: Path | None, costs: Path | None, turns: int
) -> None:
    """Compare the time and memory of this project with other implementations.

    Without NAMES, all benchmarks run except four that must be named: `scale` measures small nightly runs and predicts
    large ones, `gpu` needs a GPU, `before-and-after` and `decoding` compare this source tree with an earlier commit.
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
