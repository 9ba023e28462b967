"""python -m study [PART]...: trials on real defects, resumable; see `study`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # before torch is imported: its profiler writes to the terminal

import click
import torch

from study import plan
from study.data import Category, categories, digest
from study.trial import Place, Recipe, run_trial


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("parts", nargs=-1, type=click.Choice(["recipe", "adapter"]))
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", default="study-run", type=click.Path(file_okay=False, path_type=Path))
@click.option("--category", "wanted", multiple=True)
@click.option("--only", multiple=True)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,))
def main(
    parts: tuple[str, ...],
    data: tuple[Path, ...],
    out: Path,
    wanted: tuple[str, ...],
    only: tuple[str, ...],
    seeds: tuple[int, ...],
) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    found = [
        each
        for each in categories(tuple(path.resolve() for path in data), out.resolve() / "cells")
        if not wanted or each.name in wanted
    ]
    for part in parts:
        recipes = {"recipe": plan.RECIPES, "adapter": plan.ADAPTERS}[part]
        for name, recipe in recipes.items():
            if only and not any(each in name for each in only):
                continue
            for seed in seeds:
                rows = [trial(category, recipe, seed, "A", Place(out)) for category in found]
                print(
                    f"{name:42s} {seed}",
                    *(
                        f"{100 * row['image_auroc']:6.2f}/{row['d_prime']:.2f}/{100 * (row['pixel_auroc'] or 0):5.2f}"
                        for row in rows
                    ),
                    f"mean {100 * sum(row['image_auroc'] for row in rows) / len(rows):.2f}",
                    f"{sum(sum(row['costs'][k] for k in ('train_seconds', 'select_seconds')) for row in rows):.0f}s",
                    flush=True,
                )


def trial(category: Category, recipe: Recipe, seed: int, half: str, place: Place) -> dict[str, Any]:
    """A trial's row: read, where it has been run."""
    name = digest(json.dumps([category.name, asdict(recipe), seed, half]))[:24]
    file = place.root / "trials" / f"{name}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = run_trial(category, recipe, seed, half, place)
        file.write_text(json.dumps({"recipe": asdict(recipe), **found}))
    row: dict[str, Any] = json.loads(file.read_text())
    return row


if __name__ == "__main__":
    main()
