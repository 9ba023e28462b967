"""Nights of any size: nodes, hours and storage for 10 to 100,000 categories, from what small nights cost here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.costs import STAGES, NetworkCosts, NightCosts, NightSize, steps_and_entries, works
from benchmarks.nights import check, measure, timed_network
from pipelines.config import DEMO_BACKBONES, ENSEMBLE_BACKBONES, resolve_members

_SIZES = (  # categories, images a day
    (10, 10**4),
    (100, 10**4),
    (100, 10**5),
    (1_000, 10**5),
    (1_000, 10**6),
    (10_000, 10**6),
    (10_000, 10**7),
    (100_000, 10**7),
    (100_000, 10**8),
)
_GOOD, _CHANGED, _KEPT = 200, 0.05, 5  # images to learn from; share of the categories learned; versions kept
_NIGHT = 8 * 3600.0  # seconds
_CORES, _SCRATCH, _HEAD_MEMORY, _MANY = 32, 1e12, 64e9, 100  # of a node; of the head; nodes that are many
# Of a graphics card: assumed, a third of what the data sheet of NVIDIA's L4 gives for float32 (30.3 TFLOP/s).
_GPU_PRODUCTS = 30.3e12 / 2 / 3
# A training step and a pick of the coreset are so little work that the calls take the time, on any card: seconds of
# each on an H200, by `python -m benchmarks gpu`.
_GPU_STEP, _GPU_PICK = 8e-3, 0.5e-3
_ONCE = ("index", "fuse", "report", "driver")  # the others are done for each network
_ON_GPU = ("fit", "select", "score", "judge")  # and the networks' part of extract


@dataclass(frozen=True)
class Ensemble:
    """Networks that work together, by the default recipe."""

    name: str
    networks: tuple[NetworkCosts, ...]

    @property
    def scratch(self) -> float:
        """Bytes of an image's patches, float16."""
        return float(sum(2 * each.cells * each.width for each in self.networks))


@dataclass(frozen=True)
class Needs:
    """What a night takes.

    Attributes:
        cpu, gpu: core-seconds of each stage without a graphics card, and what is left of them with one.
        card: seconds of one graphics card.
        driver: seconds that no node shortens.
        head: bytes of the driver.
        scratch, models, scores, pages: bytes.
    """

    cpu: Mapping[str, float]
    gpu: Mapping[str, float]
    card: float
    driver: float
    head: float
    scratch: float
    models: float
    scores: float
    pages: float


def ensembles() -> list[Ensemble]:
    """The small networks at 224 px and the paper's at 480 px, each network timed here."""
    found = []
    for backbones, size in ((DEMO_BACKBONES, 224), (ENSEMBLE_BACKBONES, 480)):
        members = resolve_members("ensemble", backbones, size, {})
        networks = [timed_network(member, size) for member in members]
        found.append(Ensemble(f"{', '.join(backbones)} at {size} px", tuple(networks)))
    return found


def needs(costs: NightCosts, ensemble: Ensemble, night: NightSize) -> Needs:
    """What a night takes with some ensemble, from what nights with one small network took."""
    cpu: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    gpu: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    card = 0.0
    faster = _GPU_PRODUCTS / costs.products
    for network in ensemble.networks:
        steps, entries = steps_and_entries(night, network)
        calls = {"fit": night.learned * steps * _GPU_STEP, "select": night.learned * entries * _GPU_PICK}
        for stage, (categories, amount) in works(night, network).items():
            share = 1 / len(ensemble.networks) if stage in _ONCE else 1.0
            around, busy = share * costs.category[stage] * categories, share * costs.work[stage] * amount
            if stage == "extract":  # decoding stays on the cores
                around += network.decode * amount
                busy = network.forward * amount
            moved = stage == "extract" or stage in _ON_GPU
            cpu[stage] += around + busy
            gpu[stage] += around + (0.0 if moved else busy)
            card += max(busy / faster, calls.get(stage, 0.0)) if moved else 0.0
    seconds, grown = costs.listing
    driver = cpu.pop("driver") + seconds * night.listed
    gpu.pop("driver")
    fitted = 0.8 * _GOOD
    banks = sum(each.coreset * fitted * each.cells * each.dim * costs.bank_bytes for each in ensemble.networks)
    return Needs(
        cpu,
        gpu,
        card,
        driver + sum(costs.start.values()),
        grown * night.listed,
        night.images * ensemble.scratch,
        night.categories * banks * _KEPT,
        night.categories * night.today * costs.score_bytes,
        night.categories * costs.report_bytes,
    )


def nodes(core_seconds: float, card_seconds: float, left: float) -> int:
    """Nodes that do it in the seconds that the driver leaves."""
    return max(1, ceil(max(core_seconds / _CORES, card_seconds) / max(left, 1.0)))


def breaks(found: Needs, many: int) -> str:
    """What gives way first."""
    if found.head > _HEAD_MEMORY:
        return "the driver's memory"
    if found.driver > _NIGHT / 2:
        return "the driver's time"
    if many > _MANY:
        return "nodes"
    if found.scratch > many * _SCRATCH:
        return "scratch: waves"
    return ""


def tell(costs: NightCosts, ensemble: Ensemble) -> tuple[list[str], list[list[str]]]:
    """A table of nights from 10 to 100,000 categories and 10^4 to 10^8 images a day."""
    lines = []
    for categories, images in _SIZES:
        night = NightSize(categories, max(1, round(_CHANGED * categories)), _GOOD, -(-images // categories))
        found = needs(costs, ensemble, night)
        left = _NIGHT - found.driver
        busy, few = sum(found.cpu.values()), sum(found.gpu.values())
        cpus, gpus = nodes(busy, 0.0, left), nodes(few, found.card, left)
        lines.append(
            [
                f"{categories:,}",
                f"{images:,}",
                f"{busy / 3600:,.1f}",
                f"{cpus:,}" if left > 0 else "-",
                f"{few / 3600:,.1f}",
                f"{found.card / 3600:,.2f}",
                f"{gpus:,}" if left > 0 else "-",
                f"{found.driver / 3600:,.2f}",
                *(
                    f"{each / 1e9:,.1f}"
                    for each in (found.head, found.scratch, found.models, found.scores, found.pages)
                ),
                max(found.cpu, key=lambda stage: found.cpu[stage]),
                breaks(found, cpus),
            ]
        )
    header = ["categories", "images a day", "core-h", "nodes", "with a GPU: core-h", "GPU-h", "nodes"]
    return [
        *header,
        "driver, h",
        "its GB",
        "scratch GB",
        "models GB",
        "scores GB",
        "pages GB",
        "most in",
        "gives way",
    ], lines


def tables(
    costs: NightCosts | None, threads: int, keep: Path | None
) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """What is printed, each with what it is of: the check where the costs are measured now, the costs, the sizes."""
    if costs is None:
        costs, predicted, taken = measure(threads)
        if keep is not None:
            costs.save(keep)
        yield "A night as predicted from smaller ones, and as it was", *check(predicted, taken)
    yield (
        f"What small nights cost on {costs.cores} cores",
        ["stage", "start, s", "core-s a category", "core-s a unit of its work"],
        [
            [stage, f"{costs.start[stage]:.2f}", f"{costs.category[stage]:.3f}", f"{costs.work[stage]:.2e}"]
            for stage in STAGES
        ],
    )
    for ensemble in ensembles():
        yield f"Nights of 8 hours with {ensemble.name}; nodes of {_CORES} cores", *tell(costs, ensemble)
