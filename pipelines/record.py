"""What a run has to tell: run.json, failures.parquet, metrics, and the last lines on the screen."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd

from pipelines.config import RunConfig
from pipelines.fuse import Weights
from pipelines.progress import Screen
from pipelines.storage import FAILURES, METRICS, RunPaths, write_json, write_rows

_PACKAGES = ("reconpatch-ray", "ray", "torch", "timm", "adamp", "pyarrow", "numpy")


@dataclass
class Record:
    """A run's story so far.

    Attributes:
        failed: category → why it has no scores.
        stages: stage → seconds, and the peak of resident bytes of any one of its processes.
        units: "category/backbone" → stage → seconds and what the stage found.
    """

    config: RunConfig
    paths: RunPaths
    screen: Screen
    weights: dict[str, Weights]
    run_id: str
    started_at: datetime
    warnings: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    units: dict[str, dict[str, Any]] = field(default_factory=dict)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)
        self.screen.warn(sentence)

    def category_failed(self, category: str, stage: str, error: str, backbone: str | None = None) -> None:
        """A category that ends without scores: the others go on."""
        self._failure(category, backbone, stage, None, error)
        self.failed.setdefault(category, f"{stage}: {error}")
        self.screen.warn(f"{', '.join(filter(None, (category, backbone)))}: failed in {stage}: {error}")

    def image_unreadable(self, category: str, stage: str, image_path: str, error: str) -> None:
        """An image that is left out: it has no score at all, and a row that says why."""
        self._failure(category, None, stage, image_path, error)
        self.screen.warn(f"{image_path}: {error}")

    def _failure(self, category: str, backbone: str | None, stage: str, image_path: str | None, error: str) -> None:
        row = {"category": category, "backbone": backbone, "stage": stage, "image_path": image_path, "error": error}
        self.failures.append(row)

    @property
    def exit_code(self) -> int:
        unreadable = any(row["image_path"] is not None for row in self.failures)
        return 1 if self.failed or (self.config.strict and unreadable) else 0

    def cost(self, stage: str, peak_bytes: int) -> None:
        self.stages[stage]["peak_bytes"] = max(self.stages[stage]["peak_bytes"], peak_bytes)

    def note(self, unit: tuple[str, str], stage: str, seconds: float, detail: dict[str, Any]) -> None:
        self.units.setdefault("/".join(unit), {})[stage] = {"seconds": round(seconds, 3), **detail}

    def save(self, status: str) -> None:
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        write_json(
            self.paths.run,
            {
                "run_id": self.run_id,
                "status": status,
                "started_at": self.started_at.isoformat(),
                "seconds": round(seconds, 3),
                "command": sys.argv,
                "config": self.config.as_dict(),
                "weights": {
                    name: {"source": each.source, "sha256": each.sha256} for name, each in self.weights.items()
                },
                "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
                "stages": self.stages,
                "units": self.units,
                "failed": self.failed,
                "warnings": self.warnings,
            },
        )

    def close(self, metrics: list[dict[str, Any]]) -> None:
        """The run's last files, the table, and where everything lies."""
        write_rows(self.paths.failures, self.failures, FAILURES)
        write_rows(self.paths.metrics, metrics, METRICS)
        pd.DataFrame(metrics, columns=METRICS.names).to_csv(self.paths.metrics.with_suffix(".csv"), index=False)
        self.save("partial" if self.failed else "complete")
        if metrics:
            self.screen.metrics(metrics)
        self.screen.say(f"scores   {self.paths.root / 'scores' / 'fused'}")
        self.screen.say(f"models   {self.paths.root / 'models'}")
        self.screen.say(f"metrics  {self.paths.metrics} (and .csv)")
        if self.failures:
            self.screen.say(f"failures {self.paths.failures} ({len(self.failures)} rows)")
