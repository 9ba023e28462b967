"""Factories on disk and nights in them, for tests that read what is there in the morning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.pipelines.runs import BACKBONES, Finished, call, rows_of

_MEMBER = ("--backbone", BACKBONES[0], "--image-size", "96", "--epochs", "0", "--coreset", "0.05")
RECIPE = (*_MEMBER, "--holdout", "0.5", "--no-report")


@dataclass(frozen=True)
class Morning:
    """What is there after a night.

    Attributes:
        told: category → its row of night.parquet.
        current: category → the version in force.
        scores: the night's folder.
    """

    done: Finished
    told: dict[str, dict]
    current: dict[str, str]
    scores: Path

    def rows(self, category: str) -> dict[str, dict]:
        table = pq.read_table(self.scores / "scores" / "fused" / category / "part-00000.parquet")
        found = {row["image_path"]: row for row in table.to_pylist()}
        assert len(found) == table.num_rows  # every image once
        return found

    def judged_now(self, category: str) -> set[str]:
        """Images that were scored in this night, not taken over from an earlier one."""
        started = json.loads((self.scores / "run.json").read_text())["started_at"]
        return {path for path, row in self.rows(category).items() if row["scored_at"].isoformat() == started}


class Factory:
    """A data root, a registry and a folder of scores, and nights in them."""

    def __init__(self, root: Path, recipe: tuple[str, ...] = RECIPE) -> None:
        self.data, self.registry, self.scores = root / "data", root / "registry", root / "scores"
        self.recipe = recipe

    @property
    def place(self) -> tuple[str, ...]:
        return "--data", str(self.data), "--registry", str(self.registry), "--scores", str(self.scores)

    def night(self, *more: str) -> Morning:
        before = self._written()
        done = call("nightly", *self.place, *self.recipe, *more)
        ((file, _),) = self._written() - before
        told = {row["category"]: row for row in rows_of(file)}
        current = {path.parent.name: path.read_text() for path in self.registry.glob("*/current")}
        return Morning(done, told, current, file.parent)

    def _written(self) -> set[tuple[Path, int]]:
        """What nights have told and when: one that is gone on with has the folder that it began in."""
        return {(path, path.stat().st_mtime_ns) for path in self.scores.glob("*/night.parquet")}

    def train(self, category: str) -> Path:
        return self.data / category / "train" / "good"

    def models(self, *words: str) -> Finished:
        return call("models", words[0], "--registry", str(self.registry), *words[1:])
