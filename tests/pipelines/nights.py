"""Factories on disk and nights in them, for tests that read what is there in the morning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.pipelines.runs import BACKBONES, Finished, call

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
        return {row["image_path"]: row for row in table.to_pylist()}

    def judged_now(self, category: str) -> set[str]:
        """Images that were scored in this night, not taken over from an earlier one."""
        started = json.loads((self.scores / "run.json").read_text())["started_at"]
        return {path for path, row in self.rows(category).items() if row["scored_at"].isoformat() == started}


class Factory:
    """A data root, a registry and a folder of scores, and nights in them."""

    def __init__(self, root: Path) -> None:
        self.data, self.registry, self.scores = root / "data", root / "registry", root / "scores"

    @property
    def place(self) -> tuple[str, ...]:
        return "--data", str(self.data), "--registry", str(self.registry), "--scores", str(self.scores)

    def night(self, *more: str) -> Morning:
        before = set(self.scores.glob("*"))
        done = call("nightly", *self.place, *RECIPE, *more)
        (scores,) = set(self.scores.glob("*")) - before
        told = {row["category"]: row for row in pq.read_table(scores / "night.parquet").to_pylist()}
        current = {path.parent.name: path.read_text() for path in self.registry.glob("*/current")}
        return Morning(done, told, current, scores)

    def train(self, category: str) -> Path:
        return self.data / category / "train" / "good"

    def models(self, *words: str) -> Finished:
        return call("models", words[0], "--registry", str(self.registry), *words[1:])
