"""Candidates of a nightly run: which images their acceptance test needs, and the scoring requests for them.

Everything is chosen before training, so that the images of the test can be extracted together with the training images.
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

_MOST_IMAGES = 1000  # of each kind in an acceptance test: more would not change the result


class Role(StrEnum):
    """Which of the two models of an acceptance test."""

    CANDIDATE = "candidate"
    ACTIVE = "active"


class ImageKind(StrEnum):
    """A kind of images in an acceptance test.

    Attributes:
        GOOD: held-out good images.
        COPIES: the same images, each with a pasted defect.
        LABELED: labeled test images.
    """

    GOOD = "good"
    COPIES = "copies"
    LABELED = "labeled"


@dataclass(frozen=True, kw_only=True)
class ActiveModel:
    """The active model of a category, as far as it can be scored with.

    Attributes:
        stored: the model; None where the category has none, or it cannot be used.
        fitted: SHA-256 of the images that it was fitted on.
        error: why it cannot be used; empty where it can, or there is none.
    """

    stored: StoredModel | None = None
    fitted: frozenset[str] = frozenset()
    error: str = ""

    @property
    def exists(self) -> bool:
        """Whether the category has an active model, usable or not."""
        return self.stored is not None or bool(self.error)

    @classmethod
    def read(cls, registry: Registry, category: str) -> ActiveModel:
        """Read the active model of a category; a damaged one is no error, since it cannot score new images either.

        Args:
            registry: that holds it.
            category: the category.

        Raises:
            OSError: a disk or an object store does not return it, although it may be intact.
            StoreUnavailableError: the same.
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
        """Return the model after its networks were added to those of the run; without it where they cannot be.

        Args:
            networks: of the run.
        """
        if self.stored is None:
            return self
        try:
            networks.add(self.stored.model)
        except Exception as error:  # a network that is missing, or has other weights now
            if may_be_intact(error):
                raise
            return replace(self, stored=None, error=error_line(error, limit=200))
        return self


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that may become the active one, and the images of its acceptance test.

    Attributes:
        model: the candidate. Before training it has the members, but no statistics and no threshold yet.
        good: held-out good images that neither model was fitted on, in the order of the index.
        labeled: labeled test images that neither model was fitted on; empty where they cannot be compared.
        active: the model that would be replaced, or why it cannot be scored.
    """

    model: StoredModel
    good: tuple[ImageRecord, ...]
    labeled: tuple[ImageRecord, ...]
    active: ActiveModel

    @property
    def category(self) -> str:
        """The category of the model."""
        return self.model.category

    def trained(self, folder: Store) -> Candidate:
        """Return the candidate with the model that training has left.

        Args:
            folder: of the model.

        Raises:
            ModelError: the model is damaged.
            OSError: it cannot be read.
        """
        return replace(self, model=StoredModel.load(folder))


@dataclass(frozen=True, kw_only=True)
class AcceptanceRequest:
    """Images that an acceptance test needs scored.

    Attributes:
        category: of the candidate.
        role: the model that scores them.
        kind: of the images.
        scoring: the request.
    """

    category: str
    role: Role
    kind: ImageKind
    scoring: ScoringRequest


def plan_candidate(
    plan: CategoryPlan, labeled: Sequence[ImageRecord], active: ActiveModel, *, config: RunConfig, folder: Store
) -> Candidate:
    """Choose the images of the acceptance test of a model that is not trained yet.

    Args:
        plan: of the category, whose images are its good training images, parts assigned.
        labeled: the category's test images. They are compared where there are both kinds and an active model.
        active: the active model.
        config: of the run.
        folder: where the model will be.
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
    """Return all that has to be scored for a candidate's acceptance test, by the candidate and by the active model.

    Args:
        candidate: before or after training.
        source: the root of its images.
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
    """Return the batches of images that the candidate's own requests need extracted.

    Requests of the active model share them where it has the same networks. Other networks of an active model are not
    asked for here: that they cannot extract an image says nothing against the candidate.

    Args:
        candidate: before training.
        source: the root of its images.
        networks: backbone -> network.
        config: of the run.
    """
    own = [request for request in acceptance_requests(candidate, source) if request.role is Role.CANDIDATE]
    return [batch for request in own for member in request.scoring.batches(networks, config) for batch in member]


def may_be_intact(error: Exception) -> bool:
    """Return whether an error says nothing about the model that was read or scored.

    That is so where a disk or an object store does not return a file, and where a process died.
    """
    died = isinstance(error, RayError) and not isinstance(error, RayTaskError)
    cause = cause_of(error)
    return died or (isinstance(cause, Exception) and is_unavailable(cause))


def _sample(images: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Return at most `_MOST_IMAGES` of the images, chosen by their contents, in the order given.

    Images that are too small for a pasted defect are left out.
    """
    large = [image for image in images if min(image.height or 0, image.width or 0) >= LEAST_SIDE]
    chosen = {image.image_path for image in sorted(large, key=lambda image: str(image.content_sha256))[:_MOST_IMAGES]}
    return tuple(image for image in large if image.image_path in chosen)


def _fitted(folder: Store) -> frozenset[str]:
    """Return the SHA-256 of the images that a stored model was fitted on."""
    return frozenset(row["content_sha256"] for row in read_rows(folder, TRAIN_FILE) if row["part"] == "fit")
