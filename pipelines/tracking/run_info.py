"""The contents of run.json, and functions that read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from pipelines.errors import UsageError
from pipelines.storage.paths import RUN
from pipelines.storage.store import Store


class RunStatus(StrEnum):
    """The state of a run.

    Attributes:
        RUNNING: The run has not ended. A run that was killed keeps this status.
        COMPLETE: The run ended and all categories have scores.
        PARTIAL: The run ended, but a category failed or an object store did not return an image.
        INTERRUPTED: A signal or an unexpected error ended the run.
    """

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Weights:
    """The source of the weights of a backbone.

    Attributes:
        source: Name of a package, or path of a file.
        sha256: SHA-256 digest of the weights, 64 hexadecimal digits.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class StageCost:
    """The resources that a stage of a run used.

    Attributes:
        seconds: Wall time in seconds.
        peak_bytes: Largest peak resident memory of a process of the stage, in bytes.
    """

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The contents of run.json.

    Attributes:
        run_id: Id of the run, 32 hexadecimal digits.
        status: State of the run.
        started_at: Start time in UTC, ISO 8601.
        seconds: Wall time in seconds.
        command: Words of the command line, without credentials.
        config: Run configuration without credentials, field name -> value; `stored_config` in
            `pipelines.config.run_config` reads it.
        weights: Name of the backbone -> source of its weights.
        versions: 'python' or name of a package -> version.
        stages: Name of the stage -> resources that it used.
        units: "category/backbone" -> name of the stage -> 'seconds' and further values that the stage reports.
        failed: Category without scores -> reason.
        origin: URIs of inputs outside the run directory: 'models' (a run directory or a registry), 'images'.
        warnings: Warnings of the run, without credentials.
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
        """Return the contents as a JSON object that `from_json` can read."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> RunInfo:
        """Return the contents of run.json.

        Args:
            value: Parsed JSON of the file.

        Raises:
            UsageError: The value is not a JSON object, or a field is missing, unknown or of the wrong type.
        """
        if not isinstance(value, dict):
            raise UsageError("it is not a JSON object")
        names = {field.name for field in fields(cls)}
        if missing := sorted(names - value.keys()):
            raise UsageError(f"missing field: {', '.join(missing)}")
        if unknown := sorted(value.keys() - names):
            raise UsageError(f"unknown field: {', '.join(unknown)}")
        kinds: dict[str, type | tuple[type, ...]] = {"seconds": (int, float), "command": list, "warnings": list}
        kinds |= dict.fromkeys(("run_id", "status", "started_at"), str)
        for name in sorted(names):
            if not isinstance(value[name], kinds.get(name, dict)):
                raise UsageError(f"{name} has a value of the wrong type")
        try:
            status = RunStatus(value["status"])
            weights = {name: Weights(**weights) for name, weights in value["weights"].items()}
            stages = {name: StageCost(**cost) for name, cost in value["stages"].items()}
        except (TypeError, ValueError) as error:
            raise UsageError(f"status, weights or stages has an invalid value ({error})") from error
        return cls(**{**value, "status": status, "weights": weights, "stages": stages})


def read_run(store: Store) -> RunInfo | None:
    """Read the run.json of a run directory.

    Args:
        store: Run directory.

    Returns:
        The contents; None if the file does not exist.

    Raises:
        UsageError: The file is damaged or was written by another program or version.
    """
    value = store.read_json(RUN)
    if value is None:
        return None
    try:
        return RunInfo.from_json(value)
    except UsageError as error:
        raise UsageError(f"{store.below(RUN).uri} is not from a run: {error}. Give another folder.") from error


@dataclass(frozen=True)
class IndexOrigin:
    """The settings with which the images of an index were read.

    Attributes:
        data: Path or URI of the dataset, without credentials.
        bit_depth: Significant bits per channel of images with more than 8 bits, 9 to 16.
    """

    data: str
    bit_depth: int


def read_index_origin(store: Store) -> IndexOrigin | None:
    """Return the settings with which the images of an index were read.

    Args:
        store: Folder of a run or of a nightly run.

    Returns:
        The settings from run.json; None if the file does not contain them or is damaged.
    """
    try:
        config = store.read_json(RUN)["config"]
        return IndexOrigin(config["data"], config["bit_depth"])
    except (ValueError, TypeError, LookupError):
        return None
