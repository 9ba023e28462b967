"""python -m benchmarks [NAME]...: every ratio of the design on speed, measured side by side on this machine."""

from __future__ import annotations

import os
from pathlib import Path

# Set before torch and Ray are imported: the profiler that counts memory writes to the terminal, and so does Ray.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import click
import torch
from rich.console import Console

from benchmarks import coreset, extraction, gpu, job, memory, patches, scale, scaling, scoring, startup, training
from benchmarks.compare import Row, environment, show, show_cells
from benchmarks.costs import NightCosts
from pipelines.usage import UsageError

_NAMES = ("coreset", "patches", "scoring", "training", "extraction", "startup", "memory", "job", "scaling")
_WIDTH = 200  # of the table where the terminal's is not known


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("names", nargs=-1, type=click.Choice([*_NAMES, "gpu", "scale"]))
@click.option("--threads", default=os.cpu_count() or 1, help="Threads of either side where one process works.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of categories for `job` and `memory`; by default the demo's solar cells.",
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Where `scaling` draws its curves.")
@click.option(
    "--costs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Costs that `scale` has measured, on this machine or another: read where the file is there, else written.",
)
def main(names: tuple[str, ...], threads: int, data: Path | None, plot: Path | None, costs: Path | None) -> None:
    """Measure, side by side, what ReConPatch on Ray costs and what others cost; all of it, or the NAMES given.

    Two have to be named: `scale` measures what small nights cost and tells what large ones will, `gpu` needs a GPU.
    """
    torch.set_num_threads(threads)
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=_WIDTH)
    console.print(environment(threads), soft_wrap=True)
    rows: list[Row] = []
    for name in names or _NAMES:
        try:
            if name == "scale":
                known = NightCosts.load(costs) if costs is not None and costs.exists() else None
                for title, header, lines in scale.tables(known, threads, costs):
                    show_cells(title, header, lines, console)
                continue
            with console.status(name):
                rows += _measure(name, threads, data, plot)
        except UsageError as error:
            raise click.ClickException(str(error)) from None
        if not console.is_terminal:
            console.print(f"{name} done")
    if rows:
        show(rows, console)


def _measure(name: str, threads: int, data: Path | None, plot: Path | None) -> list[Row]:
    if name in ("job", "memory"):
        return list({"job": job, "memory": memory}[name].run(threads, data))
    if name == "scaling":
        found = list(scaling.curves(threads))
        if plot is not None:
            scaling.plot(found, plot)
        return list(scaling.run(found))
    modules = {each.__name__.rpartition(".")[2]: each for each in (coreset, patches, scoring, training)}
    modules |= {"extraction": extraction, "gpu": gpu, "startup": startup}
    return list(modules[name].run(threads))


if __name__ == "__main__":
    main()
