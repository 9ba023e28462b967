"""What a run has to tell: run.json, failures.parquet, metrics, and the last lines on the screen."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd

from pipelines.config import RunConfig
from pipelines.networks import Network
from pipelines.progress import Screen
from pipelines.rundir import (
    FAILURES,
    FAILURES_FILE,
    FUSED_FOLDER,
    METRICS,
    METRICS_CSV,
    METRICS_FILE,
    MODELS_FOLDER,
    RUN,
)
from pipelines.secrets import masked
from pipelines.storage import Store
from pipelines.tables import write_rows
from pipelines.usage import UsageError

_PACKAGES = ("reconpatch-ray", "ray", "torch", "timm", "adamp", "pyarrow", "numpy")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a cell for that begins with one of these
_STORY = ("command", "started_at", "seconds")


@dataclass
class Record:
    """A run's story so far.

    Attributes:
        failed: category → why it has no scores.
        stages: stage → seconds, and the peak of resident bytes of any one of its processes.
        units: "category/backbone" → stage → seconds and what the stage found.
        origin: where what does not lie in the folder itself came from: 'models' (a run or registry), 'images'.
        before: run.json of the run that this is about, where it is another call: command and times stay the run's.
    """

    config: RunConfig
    out: Store
    screen: Screen
    networks: Mapping[str, Network]
    run_id: str
    started_at: datetime
    warnings: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    units: dict[str, dict[str, Any]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    _unreadable: set[str] = field(default_factory=set)
    _unanswered: bool = False

    def warn(self, sentence: str) -> None:
        """Say what is odd, now and in run.json."""
        self.warnings.append(masked(sentence))
        self.screen.warn(sentence)

    def category_failed(self, category: str, stage: str, error: str, backbone: str | None = None) -> None:
        """A category that ends without scores: the others go on."""
        self._failure(category, backbone, stage, None, error)
        self.failed.setdefault(category, f"{stage}: {masked(error)}")
        self.screen.warn(f"{', '.join(filter(None, (category, backbone)))}: failed in {stage}: {error}")

    def image_unreadable(
        self, category: str, stage: str, image_path: str, error: str, *, unanswered: bool = False
    ) -> None:
        """An image that is left out: it has no score at all, and a row that says why.

        Args:
            unanswered: whether an object store did not give it: the call has not done all that it was to do.
        """
        self._unanswered |= unanswered
        if image_path not in self._unreadable:  # it may be looked at twice
            self._unreadable.add(image_path)
            self._failure(category, None, stage, image_path, error)
            self.screen.warn(f"{image_path}: {error}")

    def _failure(self, category: str, backbone: str | None, stage: str, image_path: str | None, error: str) -> None:
        where = {"category": category, "backbone": backbone, "stage": stage, "image_path": image_path}
        self.failures.append({**where, "error": masked(error)})

    @property
    def ended(self) -> str:
        """The status at the end: 'partial' where a category failed or an image was not given, else 'complete'."""
        return "partial" if self.failed or self._unanswered else "complete"

    @property
    def exit_code(self) -> int:
        """1 where a category failed, an image was not given or, with `--strict`, an image could not be read."""
        unreadable = any(row["image_path"] is not None for row in self.failures)
        return 1 if self.ended == "partial" or (self.config.strict and unreadable) else 0

    def cost(self, stage: str, peak_bytes: int) -> None:
        """The peak of resident bytes of a stage's processes: that of the largest of them."""
        self._stage(stage)["peak_bytes"] = max(self._stage(stage)["peak_bytes"], peak_bytes)

    def took(self, stage: str, seconds: float) -> None:
        """A wave's share of a stage's seconds."""
        self._stage(stage)["seconds"] = round(self._stage(stage)["seconds"] + seconds, 3)

    def _stage(self, name: str) -> dict[str, Any]:
        return self.stages.setdefault(name, {"seconds": 0.0, "peak_bytes": 0})

    def note(self, unit: tuple[str, str], stage: str, seconds: float, detail: dict[str, Any]) -> None:
        """What a stage of a unit took, and what it found."""
        self.units.setdefault("/".join(unit), {})[stage] = {"seconds": round(seconds, 3), **detail}

    def save(self, status: str) -> None:
        """Write run.json.

        Args:
            status: 'running', 'interrupted', 'partial' or 'complete'.
        """
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        self.out.write_json(
            RUN,
            {
                "run_id": self.run_id,
                "status": status,
                "started_at": self.started_at.isoformat(),
                "seconds": round(seconds, 3),
                "command": [masked(word) for word in sys.argv],
                "config": {name: _shown(value) for name, value in self.config.as_dict().items()},
                "weights": {
                    name: {"source": each.source, "sha256": each.sha256} for name, each in self.networks.items()
                },
                "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
                "stages": self.stages,
                "units": self.units,
                "failed": self.failed,
                "origin": {name: masked(where) for name, where in self.origin.items()},
                "warnings": self.warnings,
            }
            | {name: self.before[name] for name in _STORY if name in self.before},
        )

    def close(self, metrics: list[dict[str, Any]] | None = None) -> None:
        """The last files, the table, and where everything lies.

        Args:
            metrics: rows of metrics.parquet; None for what has neither metrics nor models of its own.
        """
        write_rows(self.out, FAILURES_FILE, self.failures, FAILURES)
        if metrics is not None:
            write_rows(self.out, METRICS_FILE, metrics, METRICS)
            self.out.write(METRICS_CSV, csv_of(metrics, METRICS.names))
        self.save(self.ended)
        if metrics:
            show_metrics(self.screen, metrics)
        self.screen.say(f"scores   {self.out.below(FUSED_FOLDER).uri}")
        if metrics is not None:
            self.screen.say(f"models   {self.out.below(MODELS_FOLDER).uri}")
            self.screen.say(f"metrics  {self.out.below(METRICS_FILE).uri} (and .csv)")
        if self.failures:
            self.screen.say(f"failures {self.out.below(FAILURES_FILE).uri} ({len(self.failures)} rows)")


def show_metrics(screen: Screen, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table at the end: per category the ensemble and its members.

    Args:
        rows: of metrics.parquet.
    """
    lines: list[list[str]] = []
    last = None
    for row in rows:
        if last is not None and row["category"] != last:
            lines.append([])
        first = row["category"] if row["category"] != last else ""
        last = row["category"]
        lines.append([first, row["model"], *(_figure(row.get(name)) for name in METRICS.names[2:])])
    screen.table([name.replace("_", " ") for name in METRICS.names], lines, names=2)


def _figure(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def read_run(store: Store) -> dict[str, Any] | None:
    """What a folder's run.json tells; None where there is none.

    Raises:
        UsageError: it is damaged, or that of another program.
    """
    told = store.read_json(RUN)
    if told is None:
        return None
    kinds = {"run_id": str, "status": str, "config": dict}
    if not isinstance(told, dict) or not all(isinstance(told.get(name), kind) for name, kind in kinds.items()):
        raise UsageError(
            f"{store.below(RUN).uri}: is not a run's, it lacks run_id, status or config; give another folder."
        )
    return told


def csv_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """Rows as CSV, for spreadsheets: a text that one would take for a formula has a ' before it."""
    cells = [{name: _cell(row.get(name)) for name in columns} for row in rows]
    return pd.DataFrame(cells, columns=list(columns)).to_csv(index=False).encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _shown(value: Any) -> Any:
    return masked(value) if isinstance(value, str) else value
