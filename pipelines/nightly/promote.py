"""Acceptance test of a nightly run: score the same images with candidate and active model, and update the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.networks import Network
from pipelines.config.nightly_options import AcceptanceConfig
from pipelines.data.records import ImageRecord
from pipelines.errors import error_line
from pipelines.nightly.candidates import (
    AcceptanceRequest,
    ActiveModel,
    Candidate,
    ImageKind,
    Role,
    acceptance_requests,
    may_be_intact,
)
from pipelines.nightly.steps import NightStage
from pipelines.registry.registry import Registry
from pipelines.registry.ruling import StoredRuling
from pipelines.stages.predict import score_requests
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import AUDIT_FILE
from reconpatch.evaluation.acceptance import (
    AcceptanceResult,
    AcceptanceStatus,
    Evidence,
    acceptance_test,
    too_many_outliers,
)


@dataclass(kw_only=True)
class _Scores:
    """Scores of the images of several acceptance tests.

    Attributes:
        by_images: (category, role, kind) -> (n,) fused image scores, in the order of `_by_contents`.
        unscorable: category -> why its active model could not score the images.
    """

    by_images: dict[tuple[str, Role, ImageKind], npt.NDArray[np.float64]] = field(default_factory=dict)
    unscorable: dict[str, str] = field(default_factory=dict)

    def evidence(self, category: str, role: Role) -> Evidence:
        """Return the scores of the candidate or of the active model of a category."""
        none = np.empty(0)
        good, copies, labeled = (self.by_images.get((category, role, kind), none) for kind in ImageKind)
        return Evidence(good, copies, labeled)


def run_acceptance_tests(
    runner: Runner, candidates: Sequence[Candidate], networks: Mapping[str, Network], config: AcceptanceConfig
) -> dict[str, AcceptanceResult]:
    """Run the acceptance tests of candidates.

    A category whose images cannot be scored is recorded as failed.

    Args:
        runner: Runner of the nightly run; the images are in its data root.
        candidates: Trained candidates, one per category.
        networks: backbone -> network, also for the members of active models.
        config: Criteria of the acceptance test.

    Returns:
        category -> result, without the categories that failed.
    """
    requests = [request for candidate in candidates for request in acceptance_requests(candidate, runner.context.data)]
    scores = _score(runner, requests, networks)
    results = {}
    for candidate in candidates:
        category = candidate.category
        if category in scores.unscorable:
            candidate = replace(candidate, active=ActiveModel(error=scores.unscorable[category]))
        if category not in runner.record.failed:
            try:
                results[category] = _decide(candidate, scores, config)
            except Exception as error:  # for example a damaged audit.parquet
                runner.category_failed(category, NightStage.ACCEPT, error)
    return results


def register(registry: Registry, candidate: Candidate, result: AcceptanceResult, *, run_id: str) -> None:
    """Add a candidate to the registry and, unless it was rejected, make it the active version.

    Args:
        registry: Registry of the models.
        candidate: Trained candidate.
        result: Result of its acceptance test.
        run_id: Id of the nightly run.
    """
    category, model = candidate.category, candidate.model
    active = candidate.active.stored
    ruling = StoredRuling.of(result, active=None if active is None else active.model.version, run_id=run_id)
    registry.add(category, model.model.version, source=model.folder, ruling=ruling)
    if result.status is AcceptanceStatus.REJECTED:
        registry.reject(category, model.model.version, ruling=ruling)
    else:
        registry.promote(category, model.model.version, ruling=ruling)


def _score(runner: Runner, requests: Sequence[AcceptanceRequest], networks: Mapping[str, Network]) -> _Scores:
    """Score all requests; record a category as failed if its candidate cannot score the images."""
    scores = _Scores()
    for number, answer in score_requests(runner, [request.scoring for request in requests], networks):
        request = requests[number]
        if isinstance(answer, Exception) and request.role is Role.ACTIVE and not may_be_intact(answer):
            scores.unscorable[request.category] = error_line(answer)
        elif isinstance(answer, Exception):
            runner.category_failed(request.category, NightStage.ACCEPT, answer)
        elif answer.num_rows < len(request.scoring.images):
            vanished = "Images of the acceptance test were removed after they were indexed. Run again."
            runner.record.category_failed(request.category, NightStage.ACCEPT, vanished)
        else:
            scores.by_images[request.category, request.role, request.kind] = _in_order(answer, request.scoring.images)
    return scores


def _in_order(table: pa.Table, images: Sequence[ImageRecord]) -> npt.NDArray[np.float64]:
    """Return the (n,) fused image scores, in the order of `_by_contents`."""
    scores = dict(zip(table["image_path"].to_pylist(), table["score"].to_pylist(), strict=True))
    return np.array([scores[image.image_path] for image in _by_contents(images)], np.float64)


def _by_contents(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return images in the order of their digests, which is independent of what the images show."""
    return sorted(images, key=lambda image: (str(image.content_sha256), image.image_path))


def _decide(candidate: Candidate, scores: _Scores, config: AcceptanceConfig) -> AcceptanceResult:
    category, model = candidate.category, candidate.model.model
    labels = np.array([image.label for image in _by_contents(candidate.labeled)], np.int64)
    result = acceptance_test(
        scores.evidence(category, Role.CANDIDATE),
        None if candidate.active.stored is None else scores.evidence(category, Role.ACTIVE),
        labels,
        model.false_alarms,
        margin=config.margin,
    )
    if candidate.active.error:
        reason = f"The active model could not be compared: {candidate.active.error}"
        passed = result.status is AcceptanceStatus.PASSED
        status = AcceptanceStatus.INCONCLUSIVE if passed else result.status
        result = replace(result, status=status, reasons=(*result.reasons, reason))
    audit = read_rows(candidate.model.folder, AUDIT_FILE)
    outliers = [row["image_path"] for row in audit if row["is_suspicious"]]
    if not too_many_outliers(len(outliers), len(audit), config.suspects):
        return result
    reason = (
        f"{len(outliers)} of {len(audit)} good images are training outliers ({', '.join(outliers[:3])}), more than "
        f"{config.suspects:.0%}. See {AUDIT_FILE}; to activate this version anyway, use `models promote`."
    )
    return replace(result, status=AcceptanceStatus.REJECTED, reasons=(*result.reasons, reason))
