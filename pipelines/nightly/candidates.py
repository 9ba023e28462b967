"""Candidates of a nightly run: the images of their acceptance tests and the scoring requests for them.

The images are chosen before training, so that their features are extracted together with those of the training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ray.exceptions import RayError, RayTaskError

from pipelines.config.networks import Network, Networks
from pipelines.config.run_config import RunConfig
from pipelines.data.records import ImageRecord
from pipelines.errors import cause_of, error_line
from pipelines.planning.batches import ImageBatch
from pipelines.planning.jobs import CategoryPlan
from pipelines.planning.plan import new_model
from pipelines.registry.registry import Registry
from pipelines.stages.predict import ScoringRequest
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import TRAIN_FILE
from pipelines.storage.store import Store, is_unavailable
from pipelines.storage.stored_model import StoredModel
from reconpatch.imaging.synthetic_defects import LEAST_SIDE

_MOST_IMAGES = 1000  # per kind of images in an acceptance test; more would not change the result


class Role(StrEnum):
    """Role of a model in an acceptance test.

    Attributes:
        CANDIDATE: The model that is tested.
        ACTIVE: The active model, with which the candidate is compared.
    """

    CANDIDATE = "candidate"
    ACTIVE = "active"


class ImageKind(StrEnum):
    """Kind of images in an acceptance test.

    Attributes:
        GOOD: Calibration images.
        COPIES: Copies of the same images, each with a pasted defect.
        LABELED: Labeled test images.
    """

    GOOD = "good"
    COPIES = "copies"
    LABELED = "labeled"


@dataclass(frozen=True, kw_only=True)
class ActiveModel:
    """Active model of a category, or the reason why it cannot be used.

    Attributes:
        stored: The model; None if the category has no active model or the model cannot be used.
        fitted: SHA-256 of the images that the model was fitted on.
        error: Why the model cannot be used; empty if it can be used or does not exist.
    """

    stored: StoredModel | None = None
    fitted: frozenset[str] = frozenset()
    error: str = ""

    @property
    def exists(self) -> bool:
        """Whether the category has an active model, even if it cannot be used."""
        return self.stored is not None or bool(self.error)

    @classmethod
    def read(cls, registry: Registry, category: str) -> ActiveModel:
        """Read the active model of a category.

        A damaged model does not raise: it cannot score new images either, so it must not prevent its replacement.

        Args:
            registry: Registry of the models.
            category: Name of the category.

        Returns:
            The model; with `error` if its files are damaged or missing.

        Raises:
            OSError: A disk or an object store did not return a file that may be intact.
            StoreUnavailableError: As OSError, for an object store.
            UsageError: The file that names the active version is damaged.
        """
        current = registry.current(category)
        if current is None:
            return cls()
        folder = registry.version(category, current)
        try:
            stored = StoredModel.load(folder)
            return cls(stored=stored, fitted=_fitted(folder))
        except Exception as error:
            if may_be_intact(error):
                raise
            return cls(error=error_line(error, limit=200))

    def with_networks(self, networks: Networks) -> ActiveModel:
        """Add the backbones of the model to those of the run.

        Args:
            networks: Backbones of the run; those of the model are added.

        Returns:
            This object; without the model and with `error` if a backbone is missing or its weights have changed.

        Raises:
            OSError: A disk or an object store did not return a file that may be intact.
        """
        if self.stored is None:
            return self
        try:
            networks.add(self.stored.model)
        except Exception as error:  # the backbone is missing, or its weights have changed
            if may_be_intact(error):
                raise
            return replace(self, stored=None, error=error_line(error, limit=200))
        return self


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Candidate for the active model of a category, and the images of its acceptance test.

    Attributes:
        model: The candidate. Before training it has members, but no normalization statistics and no threshold.
        good: Calibration images that neither model was fitted on, in the order of the index.
        labeled: Labeled test images that neither model was fitted on; empty if they cannot be compared.
        active: The active model, which the candidate would replace.
    """

    model: StoredModel
    good: tuple[ImageRecord, ...]
    labeled: tuple[ImageRecord, ...]
    active: ActiveModel

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.model.category

    def trained(self, folder: Store) -> Candidate:
        """Return the candidate with its trained model.

        Args:
            folder: Folder of the trained model.

        Raises:
            ModelError: The model is damaged.
            OSError: The model cannot be read.
        """
        return replace(self, model=StoredModel.load(folder))


@dataclass(frozen=True, kw_only=True)
class AcceptanceRequest:
    """Scoring request of an acceptance test.

    Attributes:
        category: Category of the candidate.
        role: Role of the model that scores the images.
        kind: Kind of the images.
        scoring: Model and images.
    """

    category: str
    role: Role
    kind: ImageKind
    scoring: ScoringRequest


def plan_candidate(
    plan: CategoryPlan, labeled: Sequence[ImageRecord], active: ActiveModel, *, config: RunConfig, folder: Store
) -> Candidate:
    """Return a candidate that has not been trained yet, with the images of its acceptance test.

    Args:
        plan: Plan of the category; its images are good training images with `part` set.
        labeled: Test images of the category. They are compared only if there is an active model and both good and
            defective images remain.
        active: Active model of the category.
        config: Configuration of the run.
        folder: Folder in which the model will be written.
    """
    fitted = {image.content_sha256 for image in plan.images if image.part == "fit"} | active.fitted
    good = [image for image in plan.images if image.part == "holdout" and image.content_sha256 not in fitted]
    unseen = [image for image in labeled if image.label is not None and image.content_sha256 not in fitted]
    comparable = active.stored is not None and len({image.label for image in unseen}) == 2
    return Candidate(
        model=StoredModel(new_model(plan.members, config, plan.version), folder),
        good=_sample(good),
        labeled=_sample(unseen) if comparable else (),
        active=active,
    )


def acceptance_requests(candidate: Candidate, source: Store) -> list[AcceptanceRequest]:
    """Return the scoring requests of an acceptance test, for the candidate and for the active model.

    Args:
        candidate: Candidate, before or after training.
        source: Root folder of its images.
    """
    models = ((Role.CANDIDATE, candidate.model), (Role.ACTIVE, candidate.active.stored))
    images = (
        (ImageKind.GOOD, candidate.good),
        (ImageKind.COPIES, candidate.good),
        (ImageKind.LABELED, candidate.labeled),
    )
    return [
        AcceptanceRequest(
            category=candidate.category,
            role=role,
            kind=kind,
            scoring=ScoringRequest(stored=model, source=source, images=records, pasted=kind is ImageKind.COPIES),
        )
        for role, model in models
        for kind, records in images
        if model is not None and records
    ]


def acceptance_batches(
    candidate: Candidate, source: Store, networks: Mapping[str, Network], config: RunConfig
) -> list[ImageBatch]:
    """Return the batches of images that must be extracted for the candidate's own scoring requests.

    The active model uses the same features if it has the same backbones. Its other backbones are left out here: the
    candidate must not fail if one of them cannot extract an image.

    Args:
        candidate: Candidate before training.
        source: Root folder of its images.
        networks: backbone -> network, for all members of the candidate.
        config: Configuration of the run.
    """
    own = [request for request in acceptance_requests(candidate, source) if request.role is Role.CANDIDATE]
    return [batch for request in own for member in request.scoring.batches(networks, config) for batch in member]


def may_be_intact(error: Exception) -> bool:
    """Return whether a model may be intact although reading it or scoring with it failed.

    Args:
        error: Exception that was raised while a model was read or scored images, also in a Ray task.

    Returns:
        True if a disk or an object store did not return a file, or if a process died.
    """
    died = isinstance(error, RayError) and not isinstance(error, RayTaskError)
    cause = cause_of(error)
    return died or (isinstance(cause, Exception) and is_unavailable(cause))


def _sample(images: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Return at most `_MOST_IMAGES` images, selected by their digests, in the order given.

    Images that are too small for a pasted defect are left out.
    """
    large = [image for image in images if min(image.height or 0, image.width or 0) >= LEAST_SIDE]
    chosen = {image.image_path for image in sorted(large, key=lambda image: str(image.content_sha256))[:_MOST_IMAGES]}
    return tuple(image for image in large if image.image_path in chosen)


def _fitted(folder: Store) -> frozenset[str]:
    """Return the SHA-256 of the images that a stored model was fitted on."""
    return frozenset(row["content_sha256"] for row in read_rows(folder, TRAIN_FILE) if row["part"] == "fit")
