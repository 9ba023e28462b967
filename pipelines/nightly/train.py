"""Training of a nightly run: train, test and promote the categories whose good images changed, wave by wave."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.data.records import ImageRecord
from pipelines.nightly.budget import Measurement
from pipelines.nightly.candidates import ActiveModel, Candidate, acceptance_batches, plan_candidate
from pipelines.nightly.promote import register, run_acceptance_tests
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.planning.batches import ImageBatch
from pipelines.planning.jobs import CategoryPlan
from pipelines.registry.statuses import TrainingResult
from pipelines.storage.paths import model_folder


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Job that trains the candidate of one category and tests it.

    Attributes:
        plan: Plan of the category's model.
        candidate: Candidate before training, with the images of its acceptance test.
        batches: Batches of images to extract for the acceptance test.
        acceptance_bytes: Size of the features of these batches in bytes.
    """

    plan: CategoryPlan
    candidate: Candidate
    batches: tuple[ImageBatch, ...]
    acceptance_bytes: int

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.plan.category

    @property
    def n_images(self) -> int:
        """Number of good images."""
        return len(self.plan.images)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch space for the features that must exist at the same time."""
        return self.plan.scratch_bytes + self.acceptance_bytes


def train_categories(
    night: NightRun, plans: Sequence[CategoryPlan], labeled: Mapping[str, Sequence[ImageRecord]]
) -> None:
    """Train, test and promote the candidates of categories whose good images or options changed.

    The results are set in `night`; categories that do not fit before the deadline are deferred.

    Args:
        night: Nightly run in progress.
        plans: Plans of all categories that have good images.
        labeled: category -> its test images.
    """
    plan_of = {plan.category: plan for plan in plans}
    settled = night.for_each(
        list(plan_of),
        lambda name: night.registry.is_settled(name, plan_of[name].version),
        NightStage.TRAIN,
        NightTask.TRAIN,
    )
    for category, is_settled in settled.items():
        if is_settled:
            with night.guarded(category, NightStage.TRAIN, NightTask.TRAIN):
                _report_settled(night, plan_of[category])
    due = [plan_of[category] for category, is_settled in settled.items() if not is_settled]
    jobs, new = _training_jobs(night, due, labeled)
    queue = night.queue(NightTask.TRAIN, lambda: _seconds_for_training(night))
    deferred = queue.run(jobs, lambda wave, number: _train_wave(night, wave, number), new=new)
    night.defer(deferred, NightTask.TRAIN)


def _report_settled(night: NightRun, plan: CategoryPlan) -> None:
    """Set the result of a settled version, which this run itself may have decided before it was interrupted."""
    last = night.registry.last_event(plan.category, plan.version)
    if last is not None and last.run_id == night.record.run_id:
        night.update(
            replace(
                night.row(plan.category),
                learned=TrainingResult(last.status or TrainingResult.REJECTED),
                candidate=plan.version,
                reasons=" ".join(last.reasons or ()),
            )
        )
        return
    is_active = plan.version == night.registry.current(plan.category)
    night.set_learned(plan.category, TrainingResult.UNCHANGED if is_active else TrainingResult.ON_HOLD)


def _training_jobs(
    night: NightRun, plans: Sequence[CategoryPlan], labeled: Mapping[str, Sequence[ImageRecord]]
) -> tuple[list[TrainingJob], list[str]]:
    """Return the jobs of these plans, and the names of the categories without an active model."""
    plan_of = {plan.category: plan for plan in plans}
    active = night.for_each(
        list(plan_of), lambda name: ActiveModel.read(night.registry, name), NightStage.ACCEPT, NightTask.TRAIN
    )
    jobs = []
    for category, model in active.items():
        with night.guarded(category, NightStage.ACCEPT, NightTask.TRAIN):
            usable = model.with_networks(night.networks)
            jobs.append(_training_job(night, plan_of[category], labeled.get(category, ()), usable))
    return jobs, [category for category, model in active.items() if not model.exists]


def _training_job(
    night: NightRun, plan: CategoryPlan, labeled: Sequence[ImageRecord], active: ActiveModel
) -> TrainingJob:
    networks = night.networks.by_backbone
    folder = night.work.below(model_folder(plan.category))
    candidate = plan_candidate(plan, labeled, active, config=night.config, folder=folder)
    batches = acceptance_batches(candidate, night.data, networks, night.config)
    return TrainingJob(
        plan=plan,
        candidate=candidate,
        batches=tuple(batches),
        acceptance_bytes=sum(networks[batch.backbone].bytes_per_image * batch.size for batch in batches),
    )


def _seconds_for_training(night: NightRun) -> float | None:
    """Return the seconds until the deadline minus the estimated time for scoring the new images."""
    left = night.seconds_left()
    if left is None:
        return None
    categories = set(night.registry.categories())
    last = night.costs.measured.get(NightTask.SCORE, {})
    return left - sum(
        night.costs.predict(NightTask.SCORE, category, cost.images) or 0.0
        for category, cost in last.items()
        if category in categories
    )


def _train_wave(night: NightRun, wave: Sequence[TrainingJob], number: int) -> list[Measurement]:
    """Train, test and promote a wave; return its measurement, or none if part of the work had been done before."""
    runner = night.runner
    label = f" {number}" if number > 1 else ""
    start = time.perf_counter()
    trained = [job.plan for job in wave if job.plan.fuse and not night.registry.holds(job.category, job.plan.version)]
    # The images of the acceptance test are extracted together with the others: each extraction takes time to start.
    batches = [batch for plan in trained for batch in plan.batches] + [batch for job in wave for batch in job.batches]
    runner.extract(batches, label)
    runner.bring_up_to_date([plan for plan in trained if plan.category not in night.record.failed], label)
    _test_and_promote(night, wave)
    runner.free([job.category for job in wave])
    from_scratch = [plan for plan in trained if all(member.select for member in plan.members)]
    if len(from_scratch) < len(wave):
        return []
    return [Measurement(seconds=time.perf_counter() - start, images={job.category: job.n_images for job in wave})]


def _test_and_promote(night: NightRun, wave: Sequence[TrainingJob]) -> None:
    """Run the acceptance tests of a wave, and promote the candidates that are not rejected."""
    candidates: list[Candidate] = []
    for job in wave:
        if job.category in night.record.failed:
            night.set_failed(job.category, NightTask.TRAIN)
            continue
        with night.guarded(job.category, NightStage.ACCEPT, NightTask.TRAIN):
            folder = job.candidate.model.folder
            if night.registry.holds(job.category, job.plan.version):  # trained earlier from the same images
                folder = night.registry.version(job.category, job.plan.version)
            candidates.append(job.candidate.trained(folder))
    results = run_acceptance_tests(night.runner, candidates, night.networks.by_backbone, night.options.acceptance)
    for candidate in candidates:
        category, version = candidate.category, candidate.model.model.version
        if category not in results:
            night.set_failed(category, NightTask.TRAIN)
            continue
        result = results[category]
        with night.guarded(category, NightStage.ACCEPT, NightTask.TRAIN):
            register(night.registry, candidate, result, run_id=night.record.run_id)
            reasons = " ".join(result.reasons)
            learned = TrainingResult(result.status)
            night.update(replace(night.row(category), learned=learned, candidate=version, reasons=reasons))
            if learned is TrainingResult.REJECTED:
                night.record.warn(f"{category}: candidate {version} was rejected by the acceptance test. {reasons}")
