"""Helpers for the tests of nightly runs: a factory on disk, and the output of its nightly runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.pipelines.runs import BACKBONES, Finished, call, rows_of

_MEMBER = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0", "--coreset", "0.05")
RECIPE = (*_MEMBER, "--holdout", "0.5", "--no-report")


@dataclass(frozen=True)
class NightOutput:
    """The output of a nightly run.

    Attributes:
        done: Finished call of the command line.
        categories: Category -> its row of night.parquet.
        current: Category -> content of the file that names the active version.
        scores: Folder of the run's scores.
    """

    done: Finished
    categories: dict[str, dict]
    current: dict[str, str]
    scores: Path

    def rows(self, category: str) -> dict[str, dict]:
        """Return image_path -> row of scores/fused."""
        table = pq.read_table(self.scores / "scores" / "fused" / category / "part-00000.parquet")
        rows = {row["image_path"]: row for row in table.to_pylist()}
        assert len(rows) == table.num_rows  # Every image has exactly one row.
        return rows

    def scored_now(self, category: str) -> set[str]:
        """Return the images that this run scored; the rows of all other images are reused from an earlier run."""
        started = json.loads((self.scores / "run.json").read_text())["started_at"]
        return {path for path, row in self.rows(category).items() if row["scored_at"].isoformat() == started}


class Factory:
    """A data root, a registry and a folder of scores for nightly runs.

    Attributes:
        data: Data root.
        registry: Folder of the registry.
        scores: Folder of the scores.
        recipe: Options of every nightly run.
    """

    def __init__(self, root: Path, recipe: tuple[str, ...] = RECIPE) -> None:
        self.data, self.registry, self.scores = root / "data", root / "registry", root / "scores"
        self.recipe = recipe

    @property
    def place(self) -> tuple[str, ...]:
        """Return the options for the three folders."""
        return "--data", str(self.data), "--registry", str(self.registry), "--scores", str(self.scores)

    def night(self, *more: str) -> NightOutput:
        """Call a nightly run."""
        before = self._written()
        done = call("nightly", *self.place, *self.recipe, *more)
        ((file, _),) = self._written() - before
        categories = {row["category"]: row for row in rows_of(file)}
        current = {path.parent.name: path.read_text() for path in self.registry.glob("*/current")}
        return NightOutput(done, categories, current, file.parent)

    def _written(self) -> set[tuple[Path, int]]:
        """Return (path, modification time) of every night.parquet; a run that resumes another writes to its folder."""
        return {(path, path.stat().st_mtime_ns) for path in self.scores.glob("*/night.parquet")}

    def train(self, category: str) -> Path:
        """Return the folder of a category's good training images."""
        return self.data / category / "train" / "good"

    def models(self, *words: str) -> Finished:
        """Call `reconpatch-run models`."""
        return call("models", words[0], "--registry", str(self.registry), *words[1:])
