"""What a run reports: run.json, failures.parquet, the metrics, and the last lines in the terminal."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import FAILURES_FILE, FUSED_FOLDER, METRICS_CSV, METRICS_FILE, MODELS_FOLDER, RUN
from pipelines.storage.redaction import redact
from pipelines.storage.schemas import FAILURES, METRICS, FailureRow, MetricsRow
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.metrics_table import csv_of, show_metrics

_PACKAGES = ("reconpatch-ray", "ray", "torch", "timm", "adamp", "pyarrow", "numpy")


class RunStatus(StrEnum):
    """How far a run is: 'partial' means that it ended, but a category failed or an image was not returned."""

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Weights:
    """Where the weights of a backbone came from.

    Attributes:
        source: a package, or the file's path.
        sha256: of the weights.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class StageCost:
    """What a stage of a run took.

    Attributes:
        seconds: wall time.
        peak_bytes: largest resident size of any one of its processes.
    """

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The contents of run.json.

    Attributes:
        run_id: 32 hexadecimal digits.
        status: how far the run is.
        started_at: UTC in ISO 8601.
        seconds: wall time.
        command: the words of the command line, without credentials.
        config: of the run, without credentials; `pipelines.config.run_config.stored_config` reads it.
        weights: by backbone.
        versions: of Python and of packages, by name.
        stages: by the stage's name.
        units: "category/backbone" -> stage -> seconds and what else the stage reports.
        failed: category -> why it has no scores.
        origin: where what does not lie in the run's folder came from: 'models' (a run or registry), 'images'.
        warnings: of the run.
    """

    run_id: str
    status: RunStatus
    started_at: str
    seconds: float
    command: list[str]
    config: dict[str, Any]
    weights: dict[str, Weights]
    versions: dict[str, str]
    stages: dict[str, StageCost]
    units: dict[str, dict[str, dict[str, Any]]]
    failed: dict[str, str]
    origin: dict[str, str]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> RunInfo:
        """Return what run.json holds.

        Args:
            value: its JSON.

        Raises:
            UsageError: a field is missing, unknown or of another type than it should be.
        """
        if not isinstance(value, dict):
            raise UsageError("it is no JSON object")
        names = {field.name for field in fields(cls)}
        if missing := sorted(names - value.keys()):
            raise UsageError(f"it lacks {', '.join(missing)}")
        if unknown := sorted(value.keys() - names):
            raise UsageError(f"it has the unknown field {', '.join(unknown)}")
        kinds: dict[str, type | tuple[type, ...]] = {"seconds": (int, float), "command": list, "warnings": list}
        kinds |= dict.fromkeys(("run_id", "status", "started_at"), str)
        for name in sorted(names):
            if not isinstance(value[name], kinds.get(name, dict)):
                raise UsageError(f"the value of {name} is of another type than it should be")
        try:
            status = RunStatus(value["status"])
            weights = {name: Weights(**weights) for name, weights in value["weights"].items()}
            stages = {name: StageCost(**cost) for name, cost in value["stages"].items()}
        except (TypeError, ValueError) as error:
            raise UsageError(f"a value in status, weights or stages is not understood ({error})") from error
        return cls(**{**value, "status": status, "weights": weights, "stages": stages})


def read_run(store: Store) -> RunInfo | None:
    """Read run.json of a folder; return None where there is none.

    Raises:
        UsageError: it is damaged, or that of another program or version.
    """
    value = store.read_json(RUN)
    if value is None:
        return None
    try:
        return RunInfo.from_json(value)
    except UsageError as error:
        raise UsageError(f"{store.below(RUN).uri}: is not a run's, {error}; give another folder.") from error


@dataclass(frozen=True)
class IndexOrigin:
    """How the images of an index were read.

    Attributes:
        data: the data root, without credentials.
        bit_depth: significant bits per channel of images with more than 8.
    """

    data: str
    bit_depth: int


def read_index_origin(store: Store) -> IndexOrigin | None:
    """Return how the images of a folder's index were read, whether a run or nightly runs work in it.

    Returns:
        None where run.json does not say so, or is damaged.
    """
    try:
        config = store.read_json(RUN)["config"]
        return IndexOrigin(config["data"], config["bit_depth"])
    except (ValueError, TypeError, LookupError):
        return None


@dataclass
class RunRecord:
    """What a run has to report so far.

    Attributes:
        config: of the run.
        out: the folder that run.json is written to.
        console: where warnings and results are shown.
        networks: backbone -> where its weights came from.
        run_id: 32 hexadecimal digits.
        started_at: UTC.
        warnings: sentences, without credentials.
        failures: rows of failures.parquet.
        failed: category -> why it has no scores.
        stages: what each stage took, by name.
        units: "category/backbone" -> stage -> seconds and what else the stage reports.
        origin: as of `RunInfo`.
        before: run.json before this call, where the call only evaluates the run: command and times stay the run's.
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
        """Show a warning and keep it for run.json."""
        self.warnings.append(redact(sentence))
        self.console.warn(sentence)

    def category_failed(self, category: str, stage: str, error: str, backbone: str | None = None) -> None:
        """Record that a category ends without scores.

        Args:
            category: the category.
            stage: in which it failed.
            error: one line.
            backbone: the member that failed, where it is one member's failure.
        """
        self._add_failure(FailureRow(category=category, backbone=backbone, stage=stage, error=error))
        self.failed.setdefault(category, f"{stage}: {redact(error)}")
        self.console.warn(f"{', '.join(filter(None, (category, backbone)))}: failed in {stage}: {error}")

    def image_unreadable(
        self, category: str, stage: str, image_path: str, error: str, *, store_unavailable: bool = False
    ) -> None:
        """Record that an image is left out: it has no score, and a row of failures.parquet says why.

        Args:
            category: the category.
            stage: in which the image was read.
            image_path: of the image; one that was recorded before is not recorded again.
            error: one line.
            store_unavailable: whether an object store did not return the image: the run is partial then.
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
        """The status at the end."""
        return RunStatus.PARTIAL if self.failed or self._store_unavailable else RunStatus.COMPLETE

    @property
    def exit_code(self) -> int:
        """1 if the run is partial or, with `--strict`, an image could not be read; else 0."""
        unreadable = any(row.image_path is not None for row in self.failures)
        return 1 if self.ended is RunStatus.PARTIAL or (self.config.strict and unreadable) else 0

    def cost(self, stage: str, peak_bytes: int) -> None:
        """Record the largest resident size of one of a stage's processes; the maximum is kept."""
        known = self.stages.get(stage, StageCost())
        self.stages[stage] = replace(known, peak_bytes=max(known.peak_bytes, peak_bytes))

    def took(self, stage: str, seconds: float) -> None:
        """Add wall time to a stage."""
        known = self.stages.get(stage, StageCost())
        self.stages[stage] = replace(known, seconds=round(known.seconds + seconds, 3))

    def note(self, member: tuple[str, str], stage: str, seconds: float, detail: Mapping[str, Any]) -> None:
        """Record what a stage of a member took and reports.

        Args:
            member: category and backbone.
            stage: the stage's name.
            seconds: wall time.
            detail: what else run.json shows of it.
        """
        self.units.setdefault("/".join(member), {})[stage] = {"seconds": round(seconds, 3), **detail}

    def save(self, status: RunStatus) -> None:
        """Write run.json."""
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
        """Write the last files and show the metrics and where the results are.

        Args:
            metrics: rows of metrics.parquet; None for a call that makes neither metrics nor models.
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
