"""Run the trials of the study and write its page: python -m study [PART]... (see `study`)."""

from __future__ import annotations

import os
from pathlib import Path

# Set before torch is imported, because otherwise its profiler writes to the terminal.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import click
import torch

from study.data import Category, categories
from study.page import figures, over_categories, write
from study.plan import PARTS
from study.plots import banks, front
from study.results import ResultsByRecipe, TrialResult
from study.trial import StudyFolder, Trial, run_trial


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, "page"]))
@click.option(
    "--data",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of categories in MVTec AD's layout; may be repeated. elpv-dataset's solar cells are always included.",
)
@click.option(
    "--out",
    default="study-run",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for features, scores and results. What it already contains is not computed again.",
)
@click.option("--category", "wanted", multiple=True, help="Limit the trials to this category; may be repeated.")
@click.option(
    "--only", multiple=True, help="Limit the trials to recipes whose names contain this text; may be repeated."
)
@click.option(
    "--page",
    "page_file",
    default="docs/accuracy.md",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown file for the tables; the plots are written to the same folder.",
)
def main(
    *,
    parts: tuple[str, ...],
    data: tuple[Path, ...],
    out: Path,
    wanted: tuple[str, ...],
    only: tuple[str, ...],
    page_file: Path,
) -> None:
    """Run the given PARTS of the study, or all of them. 'page' runs all parts and writes the tables and plots."""
    torch.set_num_threads(os.cpu_count() or 1)
    every = categories(tuple(path.resolve() for path in data), out.resolve() / "cells")
    chosen = [category for category in every if not wanted or category.name in wanted]
    with_page = not parts or "page" in parts
    trials = {part: _results(part, only, chosen, StudyFolder(out)) for part in PARTS if with_page or part in parts}
    if with_page:
        write(page_file, trials)
        front(trials["recipe"], page_file.with_name("accuracy-front.png"))
        banks(trials["recipe"], page_file.with_name("accuracy-banks.png"))


def _results(part: str, only: tuple[str, ...], chosen: list[Category], folder: StudyFolder) -> ResultsByRecipe:
    results: dict[str, list[TrialResult]] = {}
    limited_to = PARTS[part].categories
    for name, recipe in PARTS[part].recipes.items():
        if only and not any(words in name for words in only):
            continue
        results[name] = []
        for seed in PARTS[part].seeds:
            seed_results = [
                run_trial(Trial(category, recipe, seed, PARTS[part].half), folder)
                for category in chosen
                if not limited_to or category.name in limited_to
            ]
            results[name] += seed_results
            shown = "  ".join(figures([result]) for result in seed_results)
            print(f"{part} {name:52s} seed {seed}  {shown}  mean {over_categories(seed_results):.2f}", flush=True)
    return results


if __name__ == "__main__":
    main()
