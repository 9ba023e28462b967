"""Candidates before the gate: both models judge the same images, the ruling is made, the registry is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from ray.exceptions import RayError, RayTaskError

from pipelines.chunks import Chunk, View, chunks_of
from pipelines.config import RunConfig
from pipelines.judging import Order, judge_orders
from pipelines.networks import Network, Networks
from pipelines.plan import CategoryPlan
from pipelines.registry import REFUSED, Registry
from pipelines.rundir import AUDIT_FILE, TRAIN_FILE
from pipelines.stages import Stages
from pipelines.storage import Store, is_withheld
from pipelines.tables import read_rows
from pipelines.tasks import cause_of, sentence_of
from pipelines.usage import UsageError
from pipelines.walk import Image
from reconpatch.defects import LEAST_SIDE
from reconpatch.gate import Evidence, Ruling, rule, too_many_suspects
from reconpatch.model import MODEL_FILE, Model, from_json

_MOST = 1000  # images that a gate asks about, of each kind: more would tell it nothing new


@dataclass(frozen=True)
class Terms:
    """What a candidate must not fall short of.

    Attributes:
        margin: of AUROC by which it may be worse than the champion.
        suspects: share of suspicious good images above which a category is held back, though never for one alone; 1
            lets any pass.
    """

    margin: float = 0.02
    suspects: float = 0.05

    def __post_init__(self) -> None:
        for name in ("margin", "suspects"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:  # false for NaN as well, above which nothing is
                raise UsageError(f"--gate-{name} {value}: give a finite number, at least 0.")


@dataclass(frozen=True)
class Candidate:
    """A model that wants to be in force.

    Attributes:
        place: its folder in a run.
        good: the held-out good images that nobody was fitted on, in the order of the index.
        real: labelled test images.
        champion: what is in force, and its folder; None for a category's first model.
        unasked: why what is in force cannot be asked; empty where it can, or there is none.
    """

    model: Model
    place: Store
    good: tuple[Image, ...]
    real: tuple[Image, ...]
    champion: tuple[Model, Store] | None
    unasked: str = ""

    @property
    def category(self) -> str:
        """That of its model."""
        return self.model.category


def candidate_of(
    place: Store, images: Sequence[Image], real: Sequence[Image], registry: Registry, networks: Networks
) -> Candidate:
    """A model that lies in a folder, as a candidate.

    Args:
        images: the category's good training images, parts assigned.
        real: its test images; without both kinds, or a champion to compare with, they say nothing and are left out.
        networks: to which those of the champion are added.
    """
    model = from_json(place.read(MODEL_FILE))
    seen = _fitted(place)
    champion, unasked = None, ""
    current = registry.current(model.category)
    if current is not None:
        theirs = registry.version(model.category, current)
        try:
            champion = from_json(theirs.read(MODEL_FILE)), theirs
            seen |= _fitted(theirs)
            networks.add(champion[0])
        except Exception as error:  # what cannot be read, or has other weights, cannot judge today's either
            if _may_be_whole(error):
                raise
            champion, unasked = None, " ".join(str(error).split())[:200]
    good = [image for image in images if image.part == "holdout" and image.content_sha256 not in seen]
    labelled = [image for image in real if image.label is not None and image.content_sha256 not in seen]
    both = len({image.label for image in labelled}) == 2 and champion is not None
    return Candidate(model, place, _asked(good), _asked(labelled) if both else (), champion, unasked)


def _may_be_whole(error: Exception) -> bool:
    """Whether an error says nothing of the champion: a store or a disk that gives nothing now, a process that died."""
    died = isinstance(error, RayError) and not isinstance(error, RayTaskError)
    return died or is_withheld(cause_of(error))


def _asked(images: Sequence[Image]) -> tuple[Image, ...]:
    """At most `_MOST` of them, by their contents, in the order given; a defect has to find room on each."""
    large = [image for image in images if min(image.height or 0, image.width or 0) >= LEAST_SIDE]
    chosen = {image.image_path for image in sorted(large, key=lambda image: str(image.content_sha256))[:_MOST]}
    return tuple(image for image in large if image.image_path in chosen)


def gate_chunks(plan: CategoryPlan, labelled: Sequence[Image], config: RunConfig, champion: bool) -> list[Chunk]:
    """What a plan's candidate will be asked about, and a champion of the same networks with it.

    Args:
        champion: whether there is one.
    """
    source = Store.of_data(config.data)
    good = _asked([image for image in plan.images if image.part == "holdout"])
    real = _asked([image for image in labelled if image.label is not None]) if champion else ()
    chunks = []
    for unit in plan.units:
        for images, pasted in ((good, False), (good, True), (real, False)):
            view = View.of(unit.member, config, pasted=pasted)
            chunks += chunks_of(plan.category, view, source, images, unit.network.sha256, config)
    return chunks


def _fitted(place: Store) -> set[str]:
    return {row["content_sha256"] for row in read_rows(place, TRAIN_FILE) if row["part"] == "fit"}


def rule_all(
    stages: Stages, candidates: Sequence[Candidate], networks: Mapping[str, Network], terms: Terms
) -> dict[str, Ruling]:
    """Rule on candidates; those whose images cannot be judged have failed and are not ruled on.

    Args:
        stages: whose data the images are of.
    """
    orders, asked = [], []
    for candidate in candidates:
        models = [("candidate", (candidate.model, candidate.place)), ("champion", candidate.champion)]
        for who, model in models:
            if model is None:
                continue
            for what in ("good", "copies", "real"):
                images = candidate.real if what == "real" else candidate.good
                if images:
                    orders.append(Order(*model, stages.data, images, pasted=what == "copies"))
                    asked.append((candidate.category, who, what))
    scores: dict[tuple[str, str, str], np.ndarray] = {}
    unasked: dict[str, str] = {}
    for number, answer in judge_orders(stages, orders, networks):
        category, who, _ = asked[number]
        if isinstance(answer, Exception) and who == "champion" and not _may_be_whole(answer):
            unasked[category] = sentence_of(answer)
        elif isinstance(answer, Exception):
            stages.failed(category, "gate", answer)
        elif answer.num_rows < len(orders[number].images):  # the candidate was made from them
            stages.record.category_failed(category, "gate", "Images have vanished since the index was made.")
        else:
            scores[asked[number]] = _scores(answer, orders[number].images)
    rulings = {}
    for candidate in candidates:
        category = candidate.category
        if category in unasked:
            candidate = replace(candidate, champion=None, unasked=unasked[category])
        if category not in stages.record.failed:
            try:
                rulings[category] = _rule(candidate, scores, terms)
            except Exception as error:  # an audit.parquet that is damaged, say
                stages.failed(category, "gate", error)
    return rulings


def _scores(table: pa.Table, images: Sequence[Image]) -> np.ndarray:
    """Fused image scores of the images in `_by_contents`'s order."""
    scores = dict(zip(table["image_path"].to_pylist(), table["score"].to_pylist(), strict=True))
    return np.array([scores[image.image_path] for image in _by_contents(images)], np.float64)


def _by_contents(images: Sequence[Image]) -> list[Image]:
    """In the order of the contents' digests, which has nothing to do with what the images show."""
    return sorted(images, key=lambda image: (str(image.content_sha256), image.image_path))


def _rule(candidate: Candidate, scores: Mapping[tuple[str, str, str], np.ndarray], terms: Terms) -> Ruling:
    def evidence(who: str) -> Evidence:
        none = np.empty(0)
        return Evidence(*(scores.get((candidate.category, who, what), none) for what in ("good", "copies", "real")))

    labels = np.array([image.label for image in _by_contents(candidate.real)], np.int64)
    champion = None if candidate.champion is None else evidence("champion")
    ruling = rule(evidence("candidate"), champion, labels, candidate.model.false_alarms, terms.margin)
    if candidate.unasked:
        told = f"The model in force cannot be asked: {candidate.unasked}"
        status = "unproven" if ruling.status == "passed" else ruling.status
        ruling = replace(ruling, status=status, reasons=(*ruling.reasons, told))
    audit = read_rows(candidate.place, AUDIT_FILE)
    odd = [row["image_path"] for row in audit if row["is_suspicious"]]
    if not too_many_suspects(len(odd), len(audit), terms.suspects):
        return ruling
    reason = (
        f"{len(odd)} of {len(audit)} good images are unlike all the others ({', '.join(odd[:3])}), more than "
        f"{terms.suspects:.0%}: look at {AUDIT_FILE}; `models promote` puts it in force all the same."
    )
    return replace(ruling, status="refused", reasons=(*ruling.reasons, reason))


def settle(registry: Registry, candidate: Candidate, ruling: Ruling, run_id: str) -> None:
    """Put the candidate into the registry, and in force unless it was refused."""
    category, version = candidate.category, candidate.model.version
    champion = None if candidate.champion is None else candidate.champion[0].version
    story: dict[str, Any] = {**asdict(ruling), "champion": champion, "run_id": run_id}
    registry.add(category, version, candidate.place, story)
    told: dict[str, Any] = {"reasons": list(ruling.reasons), "run_id": run_id}
    if ruling.status == "refused":
        registry.note(category, REFUSED, version, **told)
    else:
        registry.promote(category, version, status=ruling.status, **told)
