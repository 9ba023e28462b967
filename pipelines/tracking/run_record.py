"""The record of a running run, from which run.json, failures.parquet, the metrics files and a summary are written."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import FAILURES_FILE, FUSED_FOLDER, METRICS_CSV, METRICS_FILE, MODELS_FOLDER, RUN
from pipelines.storage.redaction import redact
from pipelines.storage.schemas import FAILURES, METRICS, FailureRow, MetricsRow
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.metrics_table import csv_of, show_metrics
from pipelines.tracking.run_info import RunInfo, RunStatus, StageCost, Weights

_PACKAGES = ("reconpatch-ray", "ray", "torch", "timm", "adamp", "pyarrow", "numpy")


@dataclass
class RunRecord:
    """The warnings, failures and costs of a run so far.

    Attributes:
        config: Run configuration.
        out: Run directory, to which the files are written.
        console: Console for warnings and results.
        networks: Name of the backbone -> source of its weights.
        run_id: Id of the run, 32 hexadecimal digits.
        started_at: Start time, UTC.
        warnings: Warnings without credentials.
        failures: Rows of failures.parquet.
        failed: Category without scores -> reason.
        stages: Name of the stage -> resources that it used.
        units: "category/backbone" -> name of the stage -> 'seconds' and further values that the stage reports.
        origin: URIs of inputs outside the run directory, as in `RunInfo`.
        before: Contents of run.json before this call if the call only evaluates an earlier run; the command and the
            times in run.json are then kept. None for a new run.
    """

    config: RunConfig
    out: Store
    console: Console
    networks: Mapping[str, Network | Weights]
    run_id: str
    started_at: datetime
    warnings: list[str] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stages: dict[str, StageCost] = field(default_factory=dict)
    units: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    before: RunInfo | None = None
    _unreadable: set[str] = field(default_factory=set)
    _store_unavailable: bool = False

    def warn(self, sentence: str) -> None:
        """Print a warning and record it for run.json.

        Args:
            sentence: Text of the warning; credentials in it are redacted.
        """
        self.warnings.append(redact(sentence))
        self.console.warn(sentence)

    def category_failed(self, category: str, stage: str, error: str, backbone: str | None = None) -> None:
        """Record that a category ends without scores, and print a warning.

        Args:
            category: Name of the category.
            stage: Name of the stage that failed.
            error: Error in one line.
            backbone: Name of the backbone if one member failed; None if the whole category failed.
        """
        self._add_failure(FailureRow(category=category, backbone=backbone, stage=stage, error=error))
        self.failed.setdefault(category, f"{stage}: {redact(error)}")
        self.console.warn(f"{', '.join(filter(None, (category, backbone)))}: failed in {stage}: {error}")

    def image_unreadable(
        self, category: str, stage: str, image_path: str, error: str, *, store_unavailable: bool = False
    ) -> None:
        """Record that an image cannot be read and gets no score, and print a warning.

        Args:
            category: Name of the category.
            stage: Name of the stage that read the image.
            image_path: Path of the image, relative to the dataset. Each image is recorded once.
            error: Error in one line.
            store_unavailable: Whether an object store did not return the image. The run is then partial.
        """
        self._store_unavailable |= store_unavailable
        if image_path not in self._unreadable:
            self._unreadable.add(image_path)
            self._add_failure(FailureRow(category=category, stage=stage, image_path=image_path, error=error))
            self.console.warn(f"{image_path}: {error}")

    def _add_failure(self, row: FailureRow) -> None:
        self.failures.append(replace(row, error=redact(row.error)))

    @property
    def ended(self) -> RunStatus:
        """Status of the run at its end."""
        return RunStatus.PARTIAL if self.failed or self._store_unavailable else RunStatus.COMPLETE

    @property
    def exit_code(self) -> int:
        """Exit code: 1 if the run is partial or, with `--strict`, an image could not be read; else 0."""
        unreadable = any(row.image_path is not None for row in self.failures)
        return 1 if self.ended is RunStatus.PARTIAL or (self.config.strict and unreadable) else 0

    def cost(self, stage: str, peak_bytes: int) -> None:
        """Record the peak memory of a process of a stage; the maximum over all processes is kept.

        Args:
            stage: Name of the stage.
            peak_bytes: Peak resident memory of the process, in bytes.
        """
        known = self.stages.get(stage, StageCost())
        self.stages[stage] = replace(known, peak_bytes=max(known.peak_bytes, peak_bytes))

    def took(self, stage: str, seconds: float) -> None:
        """Add wall time to a stage.

        Args:
            stage: Name of the stage.
            seconds: Wall time in seconds.
        """
        known = self.stages.get(stage, StageCost())
        self.stages[stage] = replace(known, seconds=round(known.seconds + seconds, 3))

    def note(self, member: tuple[str, str], stage: str, seconds: float, detail: Mapping[str, Any]) -> None:
        """Record the time of a member in a stage, and the values that the stage reports.

        Args:
            member: Category and backbone.
            stage: Name of the stage.
            seconds: Wall time in seconds.
            detail: Further values for run.json, which can be stored as JSON.
        """
        self.units.setdefault("/".join(member), {})[stage] = {"seconds": round(seconds, 3), **detail}

    def save(self, status: RunStatus) -> None:
        """Write run.json.

        Args:
            status: Status of the run to store.
        """
        seconds = (datetime.now(UTC) - self.started_at).total_seconds()
        info = RunInfo(
            run_id=self.run_id,
            status=status,
            started_at=self.started_at.isoformat(),
            seconds=round(seconds, 3),
            command=[redact(word) for word in sys.argv],
            config={name: _shown(value) for name, value in self.config.as_dict().items()},
            weights={name: Weights(network.source, network.sha256) for name, network in self.networks.items()},
            versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            stages=self.stages,
            units=self.units,
            failed=self.failed,
            origin={name: redact(uri) for name, uri in self.origin.items()},
            warnings=self.warnings,
        )
        if self.before is not None:
            first = self.before
            info = replace(info, command=first.command, started_at=first.started_at, seconds=first.seconds)
        self.out.write_json(RUN, info.to_json())

    def close(self, metrics: Sequence[MetricsRow] | None = None) -> None:
        """Write the failures, the metrics and run.json, and print the metrics and the locations of the results.

        Args:
            metrics: Rows of metrics.parquet, grouped by category; None for a command that creates neither metrics nor
                models.
        """
        write_rows(self.out, FAILURES_FILE, self.failures, FAILURES)
        if metrics is not None:
            write_rows(self.out, METRICS_FILE, metrics, METRICS)
            self.out.write(METRICS_CSV, csv_of([row.row() for row in metrics], METRICS.names))
        self.save(self.ended)
        if metrics:
            show_metrics(self.console, metrics)
        self.console.say(f"scores   {self.out.below(FUSED_FOLDER).uri}")
        if metrics is not None:
            self.console.say(f"models   {self.out.below(MODELS_FOLDER).uri}")
            self.console.say(f"metrics  {self.out.below(METRICS_FILE).uri} (and .csv)")
        if self.failures:
            self.console.say(f"failures {self.out.below(FAILURES_FILE).uri} ({len(self.failures)} rows)")


def _shown(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value
