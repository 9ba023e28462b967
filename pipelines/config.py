"""What a run is asked to do: every option resolved, once, into one frozen object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipelines.usage import UsageError
from reconpatch.model import FUSIONS
from reconpatch.patches import AGGREGATIONS
from reconpatch.schedule import AdapterConfig

ENSEMBLE_BACKBONES = ("wide_resnet101_2.tv_in1k", "resnext101_32x8d.tv_in1k", "densenet201.tv_in1k")
SINGLE_BACKBONE = "wide_resnet50_2.tv_in1k"
DEMO_BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")


@dataclass(frozen=True)
class Member:
    """One network of the ensemble and the recipe it is used with.

    Attributes:
        backbone: timm's name.
        levels: timm's `out_indices`.
        patch_size: s.
        aggregation: 'patchcore' or 'concat'.
        dim: D, the adapter's output size; ignored without training.
        coreset: the bank's share of the fit patches.
        epochs: 0 trains nothing: with the raw start that is the identity adapter, PatchCore.
        lr: the paper's learning rate, before `--max-steps` scales it.
        start: the linear map that training starts from, one of `STARTS`.
    """

    backbone: str
    levels: tuple[int, ...]
    patch_size: int
    aggregation: str
    dim: int
    coreset: float
    epochs: int
    lr: float
    start: str = "raw"

    @property
    def adapted(self) -> bool:
        """Whether f is anything but the identity."""
        return self.epochs > 0 or self.start != "raw"


# Small networks, by recipe: the paper has none. docs/accuracy.md has the trials behind the default.
_LITE: Mapping[str, Member] = {
    "default": Member("", (2, 3), 3, "concat", 256, 0.02, 1, 1e-3),
    "paper": Member("", (2, 3), 3, "concat", 256, 0.01, 60, 1e-4),
}
# The paper's sections 4.1-4.3: command or preset → image size → row.
PRESETS: Mapping[str, Mapping[int, Member]] = {
    "single": {
        224: Member("", (2, 3), 3, "patchcore", 512, 0.01, 120, 1e-5),
        480: Member("", (2, 3), 5, "patchcore", 512, 0.01, 120, 1e-6),
    },
    "segmentation": {224: Member("", (1, 2, 3), 5, "patchcore", 512, 0.01, 120, 1e-5)},
    "ensemble": {
        320: Member("", (2, 3), 3, "patchcore", 384, 0.01, 60, 1e-6),
        480: Member("", (2, 3), 5, "patchcore", 512, 0.01, 120, 1e-6),
    },
}


def preset_row(preset: str, backbone: str, image_size: int, recipe: str) -> Member:
    """The preset's row for a member: lite networks have their own at any size, a size without a row takes the
    nearest smaller row, else the smallest."""
    if "_lite" in backbone:
        return _LITE[recipe]
    rows = PRESETS[preset]
    smaller = [size for size in rows if size <= image_size]
    return rows[max(smaller) if smaller else min(rows)]


@dataclass(frozen=True)
class RunConfig:
    """A run, wholly resolved; see `reconpatch-run ensemble -h` for what each option means."""

    command: str
    data: str
    out: str
    members: tuple[Member, ...]
    image_size: int
    categories: tuple[str, ...] = ()
    layout: str = "auto"
    full_frame: bool = True
    weights: str | None = None
    recipe: str = "default"
    max_steps: int = AdapterConfig.max_steps
    batch_size: int = AdapterConfig.batch_size
    batch_images: int = 4
    sigma: float | None = AdapterConfig.sigma
    neighbours: int = AdapterConfig.neighbours
    alpha: float = AdapterConfig.alpha
    margin: float = AdapterConfig.margin
    gamma: float = AdapterConfig.gamma
    reweight: int = 9
    fusion: str = "patch"
    seed: int = AdapterConfig.seed
    chunk: int = 16
    bit_depth: int = 16
    holdout: float = 0.2
    false_alarms: float = 0.01
    maps: bool = False
    report: bool = True
    scratch: str | None = None
    scratch_gb: float = 50.0
    keep_features: bool = False
    rehash: bool = False
    workers: int | None = None
    threads_per_unit: int = 1
    gpus_per_actor: float = 0.0
    address: str | None = None
    strict: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        _require(len(self.members) > 0, "--backbone: an ensemble needs at least one backbone.")
        names = [member.backbone for member in self.members]
        _require(
            len(set(names)) == len(names), f"--backbone: {', '.join(names)} names a backbone twice; give each once."
        )
        _require(self.image_size >= 32, f"--image-size {self.image_size}: give at least 32 pixels.")
        _require(self.chunk >= 1, f"--chunk {self.chunk}: give at least 1 image.")
        _require(self.reweight >= 1, f"--reweight {self.reweight}: give at least 1 (1 = no reweighting).")
        _require(self.fusion in FUSIONS, f"--fusion {self.fusion}: give one of {', '.join(FUSIONS)}.")
        _require(9 <= self.bit_depth <= 16, f"--bit-depth {self.bit_depth}: give 9 to 16 bits.")
        _require(0 <= self.holdout < 1, f"--holdout {self.holdout}: give a share of at least 0 and less than 1.")
        _require(0 < self.false_alarms < 1, f"--false-alarms {self.false_alarms}: give a share above 0 and below 1.")
        _require(self.scratch_gb > 0, f"--scratch-gb {self.scratch_gb:g}: give more than 0.")
        _require(self.workers is None or self.workers >= 1, f"--workers {self.workers}: give at least 1.")
        _require(self.threads_per_unit >= 1, f"--threads-per-unit {self.threads_per_unit}: give at least 1.")
        _require(self.gpus_per_actor >= 0, f"--gpus-per-actor {self.gpus_per_actor}: give 0 or more.")
        for member in self.members:
            _require(
                member.patch_size % 2 == 1, f"--patch-size {member.patch_size}: give an odd number such as 3 or 5."
            )
            _require(0 < member.coreset <= 1, f"--coreset {member.coreset}: give a share above 0 and at most 1.")
            _require(
                member.aggregation in AGGREGATIONS,
                f"--aggregation {member.aggregation}: give one of {', '.join(AGGREGATIONS)}.",
            )
            _require(member.epochs >= 0, f"--epochs {member.epochs}: give 0 (no training) or more.")
            if member.adapted:
                try:
                    self.adapter_config(member)
                except ValueError as error:
                    raise UsageError(str(error)) from error

    def adapter_config(self, member: Member) -> AdapterConfig:
        """The options of section 3.2's training for one member."""
        return AdapterConfig(
            start=member.start,
            dim=member.dim,
            epochs=member.epochs,
            max_steps=self.max_steps,
            lr=member.lr,
            batch_size=self.batch_size,
            batch_images=self.batch_images,
            sigma=self.sigma,
            neighbours=self.neighbours,
            alpha=self.alpha,
            margin=self.margin,
            gamma=self.gamma,
            seed=self.seed,
        )

    @property
    def device(self) -> str:
        """torch's name for it."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"

    def as_dict(self) -> dict[str, Any]:
        """As run.json tells it."""
        return asdict(self)


_PAPER: Mapping[str, Any] = {"full_frame": False, "batch_images": 0, "max_steps": 0, "holdout": 0.0}
# What a recipe decides where the user does not.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {name: getattr(RunConfig, name) for name in _PAPER},
    "paper": _PAPER,
}


def resolve_members(
    preset: str,
    backbones: Sequence[str],
    image_size: int,
    overrides: Mapping[str, Any],
    recipe: str = "default",
) -> tuple[Member, ...]:
    """The members of a run: each its preset's row, with the fields the user gave in their place."""
    given = {field: value for field, value in overrides.items() if value is not None}
    rows = [preset_row(preset, backbone, image_size, recipe) for backbone in backbones]
    return tuple(
        Member(**{**asdict(row), "backbone": backbone, **given}) for row, backbone in zip(rows, backbones, strict=True)
    )


def with_recipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options, with what their recipe decides where they say nothing or None."""
    recipe = options.get("recipe", RunConfig.recipe)
    decided = RECIPES[recipe]
    return {
        **options,
        "recipe": recipe,
        **{name: value for name, value in decided.items() if options.get(name) is None},
    }


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise UsageError(sentence)


def stored_config(stored: Mapping[str, Any], **given: Any) -> RunConfig:
    """The configuration that run.json tells of, with some options given anew; what this version does not know is left
    out.

    Raises:
        UsageError: it is not whole.
    """
    names = {field.name for field in fields(RunConfig)}
    known = {name: value for name, value in stored.items() if name in names}
    try:
        members = tuple(Member(**{**each, "levels": tuple(each["levels"])}) for each in stored["members"])
        return RunConfig(**{**known, "members": members, "categories": tuple(stored["categories"]), **given})
    except (KeyError, TypeError) as error:
        raise UsageError(f"run.json has no whole configuration of a run ({error}); give another folder.") from error
