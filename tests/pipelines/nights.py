"""Factories on disk and nightly runs in them, for tests that read what a run leaves."""

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
    """What a nightly run leaves.

    Attributes:
        done: the finished call.
        categories: category -> its row of night.parquet.
        current: category -> content of the file that names the active version.
        scores: the folder of the run's scores.
    """

    done: Finished
    categories: dict[str, dict]
    current: dict[str, str]
    scores: Path

    def rows(self, category: str) -> dict[str, dict]:
        """Return image_path -> row of scores/fused."""
        table = pq.read_table(self.scores / "scores" / "fused" / category / "part-00000.parquet")
        rows = {row["image_path"]: row for row in table.to_pylist()}
        assert len(rows) == table.num_rows  # every image once
        return rows

    def scored_now(self, category: str) -> set[str]:
        """Return the images that this run scored, whose rows are not reused from an earlier one."""
        started = json.loads((self.scores / "run.json").read_text())["started_at"]
        return {path for path, row in self.rows(category).items() if row["scored_at"].isoformat() == started}


class Factory:
    """A data root, a registry and a folder of scores, in which nightly runs are called."""

    def __init__(self, root: Path, recipe: tuple[str, ...] = RECIPE) -> None:
        self.data, self.registry, self.scores = root / "data", root / "registry", root / "scores"
        self.recipe = recipe

    @property
    def place(self) -> tuple[str, ...]:
        """The options that name the three folders."""
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
        """Return every night.parquet and when it was written: a run that resumes another has the same folder."""
        return {(path, path.stat().st_mtime_ns) for path in self.scores.glob("*/night.parquet")}

    def train(self, category: str) -> Path:
        """Return the folder of a category's good training images."""
        return self.data / category / "train" / "good"

    def models(self, *words: str) -> Finished:
        """Call `reconpatch-run models`."""
        return call("models", words[0], "--registry", str(self.registry), *words[1:])
