"""python -m study [PART]...: trials on real defects, resumable; see `study`."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch is imported: its profiler writes to the terminal

import click
import torch

from study.data import Category, categories
from study.page import Found, figures, over_categories, write
from study.plan import PARTS
from study.plots import banks, front
from study.trial import Place, run_trial


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, "page"]))
@click.option(
    "--data",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of categories in MVTec AD's layout; may be repeated. The solar cells of elpv-dataset come along.",
)
@click.option(
    "--out",
    default="study-run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where features, scores and trials are kept; what is there is not computed again.",
)
@click.option("--category", "wanted", multiple=True, help="Only these categories.")
@click.option("--only", multiple=True, help="Only recipes with these words in their names.")
@click.option("--page", "page_file", default="docs/accuracy.md", type=click.Path(dir_okay=False, path_type=Path))
def main(
    parts: tuple[str, ...],
    data: tuple[Path, ...],
    out: Path,
    wanted: tuple[str, ...],
    only: tuple[str, ...],
    page_file: Path,
) -> None:
    """The PARTs of the study, or all of them; 'page' writes the tables and plots from all."""
    torch.set_num_threads(os.cpu_count() or 1)
    found = [
        each
        for each in categories(tuple(path.resolve() for path in data), out.resolve() / "cells")
        if not wanted or each.name in wanted
    ]
    asked = [part for part in PARTS if not parts or part in parts or "page" in parts]
    trials = {part: _trials(part, only, found, Place(out)) for part in asked}
    if not parts or "page" in parts:
        write(page_file, trials)
        front(trials["recipe"], page_file.with_name("accuracy-front.png"))
        banks(trials["recipe"], page_file.with_name("accuracy-banks.png"))


def _trials(part: str, only: tuple[str, ...], found: list[Category], place: Place) -> Found:
    rows: Found = {}
    only_these = PARTS[part].categories
    found = [category for category in found if not only_these or category.name in only_these]
    for name, recipe in PARTS[part].recipes.items():
        if only and not any(each in name for each in only):
            continue
        rows[name] = []
        for seed in PARTS[part].seeds:
            mine = [run_trial(category, recipe, seed, PARTS[part].half, place) for category in found]
            rows[name] += mine
            each = "  ".join(figures([row]) for row in mine)
            print(f"{part} {name:42s} seed {seed}  {each}  mean {over_categories(mine):.2f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
