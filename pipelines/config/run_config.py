"""The configuration of a run: all options, resolved into one frozen object."""

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
    """The part of a configuration that determines how a run is executed.

    The stored results do not depend on these fields, except on the device, which `gpus_per_actor` sets. The option of
    each field documents the field.

    Attributes:
        fresh: Whether to replace the run in `out` instead of resuming it.

    Raises:
        UsageError: A value is out of its range.
    """

    maps: bool = field(
        default=False,
        metadata=Option(
            Section.OUTPUT,
            "Write anomaly maps at the resolution of each image. Adding them to a finished run repeats the fusion.",
            off="no-maps",
        ).metadata,
    )
    report: bool = field(
        default=True,
        metadata=Option(Section.OUTPUT, "Write an HTML report at the end of the run.", off="no-report").metadata,
    )
    workers: int | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Number of jobs that run at the same time (at least 1). On a cluster that scales up, give the number that "
            "fits after scaling. A job with a GPU also uses its share of the CPUs.",
            shown_default="as many as fit on the present CPUs and GPUs",
        ).metadata,
    )
    gpus_per_actor: float = field(
        default=0.0,
        metadata=Option(
            Section.WHERE,
            "GPUs per job (0 or more, fractions allowed); above 0, jobs use CUDA. Work is repeated only if the "
            "device changes.",
            redoes="extract",
        ).metadata,
    )
    address: str | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Address of the Ray cluster.",
            shown_default="RAY_ADDRESS, else a local Ray",
        ).metadata,
    )
    scratch_gb: float = field(
        default=50.0,
        metadata=Option(
            Section.WHERE,
            "Space for patch features, in GB (above 0). Categories are processed in waves that fit.",
        ).metadata,
    )
    keep_features: bool = field(
        default=False,
        metadata=Option(Section.WHERE, "Keep the patch features of finished categories in the scratch space.").metadata,
    )
    rehash: bool = field(
        default=False,
        metadata=Option(
            Section.RUN, "Read every file again, even if its size and modification time are unchanged."
        ).metadata,
    )
    strict: bool = field(
        default=False, metadata=Option(Section.RUN, "Exit with code 1 if an image cannot be read.").metadata
    )
    fresh: bool = False

    def __post_init__(self) -> None:
        require(self.scratch_gb > 0, f"--scratch-gb {self.scratch_gb:g}: give more than 0.")
        require(self.workers is None or self.workers >= 1, f"--workers {self.workers}: give at least 1.")
        require(self.gpus_per_actor >= 0, f"--gpus-per-actor {self.gpus_per_actor}: give 0 or more.")

    @property
    def device(self) -> str:
        """Name of the device in torch, 'cuda' or 'cpu'; it is part of the cache keys of the patch features."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """The part of a configuration that names inputs and outputs. The option of each field documents the field."""

    data: str = field(
        metadata=Option(
            Section.DATA, "Folder of images, or a list of images (.csv, .parquet); path or URI.", is_path=True
        ).metadata
    )
    layout: str = field(
        default="auto",
        metadata=Option(Section.DATA, "Directory layout of the data; 'auto' detects it.").metadata,
    )
    columns: str | None = field(
        default=None,
        metadata=Option(
            Section.DATA,
            "Names of the columns of an image list that differ, such as label=label_index,mask=mask_path.",
        ).metadata,
    )
    categories: tuple[str, ...] = field(
        default=(),
        metadata=Option(
            Section.DATA,
            "Category to process. Repeat the option for several.",
            name="category",
            is_multiple=True,
            shown_default="all",
        ).metadata,
    )
    weights: str | None = field(
        default=None,
        metadata=Option(
            Section.RECIPE,
            "Folder with the weights, as <backbone>.safetensors or <backbone>.pth.",
            is_path=True,
            shown_default="installed packages, else timm's hub",
        ).metadata,
    )
    out: str = field(
        metadata=Option(
            Section.OUTPUT, "Run directory: folder for all files of the run (path or URI).", is_path=True
        ).metadata
    )
    scratch: str | None = field(
        default=None,
        metadata=Option(
            Section.WHERE,
            "Folder for patch features and checkpoints (path or URI). All nodes of a cluster must have access to it.",
            is_path=True,
            shown_default="OUT/_scratch",
        ).metadata,
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Recipe, Execution, Paths):
    """The complete configuration of a run. A function that needs only one part takes `Recipe`, `Execution` or `Paths`.

    Attributes:
        command: Command that was called ("ensemble", "nightly").

    Raises:
        UsageError: A value is out of its range, two members have the same backbone, or there are no members.
    """

    command: str

    def __post_init__(self) -> None:
        # `score` does not train; the members are those of the stored model.
        require(
            len(self.members) > 0 or self.command == "score", "--backbone: no backbone is given; give at least one."
        )
        Recipe.__post_init__(self)
        Execution.__post_init__(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as run.json stores them: field name -> value."""
        return asdict(self)


def stored_config(stored: Mapping[str, Any], **given: Any) -> RunConfig:
    """Return the run configuration that is stored in a run.json.

    Args:
        stored: Field name -> stored value. Former names and values are accepted for one release.
        **given: Values that replace the stored ones, by field name.

    Raises:
        UsageError: A field is missing or unknown, or a value is out of its range.
    """
    try:
        members = tuple(_member(member) for member in stored["members"])
        current = with_current_names(RunConfig, stored)
        return RunConfig(**{**current, "members": members, "categories": tuple(stored["categories"]), **given})
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"run.json has no complete run configuration ({error}). Give another folder.") from error


def _member(stored: Mapping[str, Any]) -> Member:
    current = with_current_names(Member, stored)
    return Member(**{**current, "layers": tuple(current["layers"])})
