"""What a night learns: categories whose good images have changed, fitted wave by wave and brought before the gate."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from pipelines.chunks import Chunk
from pipelines.deadline import JUDGE, LEARN, affordable, by_importance
from pipelines.gate import Candidate, candidate_of, gate_chunks, rule_all, settle
from pipelines.night import Night
from pipelines.plan import CategoryPlan, cut_waves
from pipelines.registry import REFUSED
from pipelines.rundir import model_folder
from pipelines.walk import Image, named


def learn(night: Night, plans: Sequence[CategoryPlan], labelled: Mapping[str, Sequence[Image]]) -> None:
    """Fit what has changed, wave by wave, and bring it before the gate."""
    stages, record = night.stages, night.record
    by_name = {plan.category: plan for plan in plans}
    found = night.of_each(lambda name: _standing(night, by_name[name]), list(by_name), "learn", learned="failed")
    due = {name: by_name[name] for name, (settled, _) in found.items() if not settled}
    for name, (settled, _) in found.items():
        if settled:
            with night.guarded(name, "learn", learned="failed"):
                _tell_settled(night, by_name[name])
    new = [name for name in due if found[name][1] is None]
    order = by_importance(list(due), night.before.get("deferred", {}).get(LEARN, []), new)
    number = 0
    while order:
        sizes = {category: len(due[category].images) for category in order}
        affords = affordable(night.costs, LEARN, sizes, _for_learning(night))
        if not affords:
            for category in order:
                night.tell(category, learned="deferred")
            record.warn(f"{len(order)} categories could not be learned before the deadline: {named(order, 20)}.")
            return
        number += 1
        started = time.perf_counter()
        asked = {
            name: gate_chunks(due[name], labelled.get(name, ()), stages.config, champion=name not in new)
            for name in affords
        }
        wave = cut_waves(
            [due[name] for name in affords],
            [due[name].scratch_bytes + _bytes_of(night, asked[name]) for name in affords],
            stages.config.scratch_gb * 1e9,
        )[0]
        label = f" {number}" if number > 1 else ""
        fitted = [plan for plan in wave if plan.fuse and not night.registry.holds(plan.category, night.version(plan))]
        # What the gate asks about is extracted with the rest: each extraction has a start-up of its own.
        chunks = [chunk for plan in fitted for chunk in plan.chunks]
        stages.extract(chunks + [chunk for plan in wave for chunk in asked[plan.category]], label)
        stages.do([plan for plan in fitted if plan.category not in record.failed], label, f"fit-{uuid.uuid4().hex}")
        _before_the_gate(night, wave, labelled)
        stages.free([plan.category for plan in wave])
        whole = [plan for plan in fitted if all(unit.select for unit in plan.units)]
        if len(whole) == len(wave):  # what was partly there has cost less than it will
            night.costs.note(LEARN, time.perf_counter() - started, {plan.category: len(plan.images) for plan in wave})
            night.costs.write(stages.out)
        done = {plan.category for plan in wave}
        order = [category for category in order if category not in done]


def _standing(night: Night, plan: CategoryPlan) -> tuple[bool, str | None]:
    """Whether nothing is to be decided about a plan's model, and what is in force."""
    return night.registry.is_settled(plan.category, night.version(plan)), night.registry.current(plan.category)


def _tell_settled(night: Night, plan: CategoryPlan) -> None:
    """Of a version about which nothing is to be decided: a night that was cut off may have decided it."""
    version = night.version(plan)
    last = night.registry.last_event(plan.category, version) or {}
    if last.get("run_id") == night.record.run_id:
        reasons = " ".join(last.get("reasons", ()))
        night.tell(plan.category, learned=last.get("status", REFUSED), candidate=version, reasons=reasons)
        return
    in_force = version == night.registry.current(plan.category)
    night.tell(plan.category, learned="unchanged" if in_force else "held back")


def _bytes_of(night: Night, chunks: Sequence[Chunk]) -> int:
    found = night.networks.by_backbone
    return sum(found[chunk.view.backbone].bytes_per_image * len(chunk.images) for chunk in chunks)


def _for_learning(night: Night) -> float | None:
    """Seconds that are left when today's images have been judged, as far as their cost is known."""
    left = night.seconds_left()
    if left is None:
        return None
    there = set(night.registry.categories())
    known = {name: images for name, (_, images) in night.costs.found.get(JUDGE, {}).items() if name in there}
    return left - sum(night.costs.predict(JUDGE, name, images) or 0.0 for name, images in known.items())


def _before_the_gate(night: Night, wave: Sequence[CategoryPlan], labelled: Mapping[str, Sequence[Image]]) -> None:
    stages, record = night.stages, night.record
    candidates: list[Candidate] = []
    for plan in wave:
        category = plan.category
        if category in record.failed:
            night.tell(category, learned="failed")
            continue
        with night.guarded(category, "gate", learned="failed"):
            version = night.version(plan)
            place = stages.out.below(model_folder(category))
            if night.registry.holds(category, version):  # its images were there before, and are back
                place = night.registry.version(category, version)
            real = labelled.get(category, ())
            candidates.append(candidate_of(place, plan.images, real, night.registry, night.networks))
    rulings = rule_all(stages, candidates, night.networks.by_backbone, night.options.terms)
    for candidate in candidates:
        category = candidate.category
        if category not in rulings:
            night.tell(category, learned="failed")
            continue
        ruling, version = rulings[category], candidate.model.version
        with night.guarded(category, "gate", learned="failed"):
            settle(night.registry, candidate, ruling, record.run_id)
            night.tell(category, learned=ruling.status, candidate=version, reasons=" ".join(ruling.reasons))
            if ruling.status == "refused":
                record.warn(f"{category}: the candidate {version} is refused: {' '.join(ruling.reasons)}")
