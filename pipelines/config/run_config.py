"""What a run is asked to do: every option resolved, once, into one frozen object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.config.member import Member
from pipelines.config.option import Option, Section, with_current_names
from pipelines.config.recipe import Recipe, require
from pipelines.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a run is executed: no stored result depends on these fields, except on the device that `gpus_per_actor` sets.

    Every field's meaning is in its option.

    Attributes:
        fresh: whether the run replaces what is in `out` instead of resuming it.
    """

    maps: bool = field(
        default=False,
        metadata=Option(
            Section.OUTPUT,
            "Write anomaly maps at each image's own resolution; turning them on repeats the fusion.",
            off="no-maps",
        ).metadata,
    )
    report: bool = field(
        default=True, metadata=Option(Section.OUTPUT, "Write the HTML report at the end.", off="no-report").metadata
    )
    workers: int | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Jobs that run at once (at least 1). On a cluster that scales up, the default is what it can grow to. A "
            "job with a GPU uses its share of the CPUs.",
            shown_default="as many as the CPUs and GPUs allow",
        ).metadata,
    )
    gpus_per_actor: float = field(
        default=0.0,
        metadata=Option(
            Section.WHERE,
            "GPUs per job (0 or more); above 0 it computes with CUDA. Only a change of the device repeats work.",
            redoes="extract",
        ).metadata,
    )
    address: str | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Address of the Ray cluster.",
            shown_default="RAY_ADDRESS, else a Ray started here",
        ).metadata,
    )
    scratch_gb: float = field(
        default=50.0,
        metadata=Option(
            Section.WHERE,
            "Space for patch features in GB (above 0); categories are processed in waves that fit.",
        ).metadata,
    )
    keep_features: bool = field(
        default=False, metadata=Option(Section.WHERE, "Keep the patch features of finished categories.").metadata
    )
    rehash: bool = field(
        default=False,
        metadata=Option(Section.RUN, "Read every file again, even where size and time are unchanged.").metadata,
    )
    strict: bool = field(
        default=False, metadata=Option(Section.RUN, "Exit with code 1 if a file cannot be read.").metadata
    )
    fresh: bool = False

    def __post_init__(self) -> None:
        require(self.scratch_gb > 0, f"--scratch-gb {self.scratch_gb:g}: give more than 0.")
        require(self.workers is None or self.workers >= 1, f"--workers {self.workers}: give at least 1.")
        require(self.gpus_per_actor >= 0, f"--gpus-per-actor {self.gpus_per_actor}: give 0 or more.")

    @property
    def device(self) -> str:
        """torch's name of the device, which enters the features' keys."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a run reads and writes. Every field's meaning is in its option."""

    data: str = field(
        metadata=Option(
            Section.DATA, "Folder of images, or a list of them (.csv, .parquet); a path or a URI.", is_path=True
        ).metadata
    )
    layout: str = field(
        default="auto",
        metadata=Option(Section.DATA, "Directory layout of the data; 'auto' detects it.").metadata,
    )
    categories: tuple[str, ...] = field(
        default=(),
        metadata=Option(
            Section.DATA,
            "Category to process; may be repeated.",
            name="category",
            is_multiple=True,
            shown_default="all",
        ).metadata,
    )
    weights: str | None = field(
        default=None,
        metadata=Option(
            Section.RECIPE,
            "Folder with weights as <backbone>.safetensors or .pth.",
            is_path=True,
            shown_default="installed packages, else timm",
        ).metadata,
    )
    out: str = field(
        metadata=Option(Section.OUTPUT, "Folder for the run's files; a path or a URI.", is_path=True).metadata
    )
    scratch: str | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Folder for patch features; on several nodes one that all of them reach.",
            is_path=True,
            shown_default="OUT/_scratch",
        ).metadata,
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Recipe, Execution, Paths):
    """The whole configuration of a run, resolved: a function that needs only a part of it takes that part.

    Attributes:
        command: the command that was called ("ensemble", "nightly").

    Raises:
        UsageError: a value is out of its range.
    """

    command: str

    def __post_init__(self) -> None:
        # `score` trains nothing: a stored model knows its own members.
        require(
            len(self.members) > 0 or self.command == "score", "--backbone: an ensemble needs at least one backbone."
        )
        Recipe.__post_init__(self)
        Execution.__post_init__(self)

    def as_dict(self) -> dict[str, Any]:
        """Return field name -> value, as run.json stores it."""
        return asdict(self)


def stored_config(stored: Mapping[str, Any], **given: Any) -> RunConfig:
    """Return the configuration that a run.json holds.

    Args:
        stored: field name -> value; the former names and values of one release are read as well.
        given: fields whose values replace the stored ones.

    Raises:
        UsageError: a field is missing or unknown, or a value is out of its range.
    """
    try:
        members = tuple(_member(member) for member in stored["members"])
        current = with_current_names(RunConfig, stored)
        return RunConfig(**{**current, "members": members, "categories": tuple(stored["categories"]), **given})
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"run.json has no whole configuration of a run ({error}); give another folder.") from error


def _member(stored: Mapping[str, Any]) -> Member:
    current = with_current_names(Member, stored)
    return Member(**{**current, "layers": tuple(current["layers"])})
