"""Predict nodes, hours and storage of nightly runs of 10 to 100,000 categories from the costs of small runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.compare import TextTable
from benchmarks.nightly.costs import STAGES, NetworkCosts, NightCosts, NightSize, steps_and_entries, work_amounts
from benchmarks.nightly.measure import check, measure, timed_network
from pipelines.config.presets import DEMO_BACKBONES, ENSEMBLE_BACKBONES, resolve_members

_SIZES = (  # categories, images per day
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
_GOOD, _CHANGED, _KEPT = 200, 0.05, 5  # training images; share of categories trained; model versions kept
_NIGHT = 8 * 3600.0  # seconds
# Cores and bytes of scratch space of a node; bytes of memory of the head; largest number of nodes.
_CORES, _SCRATCH, _HEAD_MEMORY, _MANY = 32, 1e12, 64e9, 100
# Assumption: a GPU reaches a third of the 30.3 TFLOP/s that the data sheet of NVIDIA's L4 states for float32.
_GPU_PRODUCTS = 30.3e12 / 2 / 3
# A training step and a step of the coreset selection are so little work that the overhead of the calls dominates on any
# GPU. These are the seconds of each step on an H200, measured with `python -m benchmarks gpu`.
_GPU_STEP, _GPU_PICK = 8e-3, 0.5e-3
_ONCE = ("index", "fuse", "report", "driver")  # the other stages run once for each member
_ON_GPU = ("fit", "select", "score", "predict")  # in addition to the forward passes of extract


@dataclass(frozen=True)
class Ensemble:
    """Members with the default recipe.

    Attributes:
        name: Names of the backbones and the image size, for the title of the table.
        networks: Sizes and costs of the members.
    """

    name: str
    networks: tuple[NetworkCosts, ...]

    @property
    def scratch(self) -> float:
        """Bytes of the float16 patch features of one image, for all members."""
        return float(sum(2 * network.cells * network.width for network in self.networks))


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Requirements of a nightly run.

    Attributes:
        cpu: Stage -> core-seconds without a GPU.
        gpu: Stage -> core-seconds of the CPUs that remain with a GPU.
        card: Seconds of work for one GPU.
        driver: Seconds of the driver, which more nodes do not shorten.
        head: Bytes of memory of the driver.
        scratch: Bytes of feature shards.
        models: Bytes of all model versions that are kept.
        scores: Bytes of scores.
        pages: Bytes of report pages.
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
    """Return the ensemble of small backbones at 224 px and that of the paper at 480 px, timed on this machine."""
    timed = []
    for backbones, size in ((DEMO_BACKBONES, 224), (ENSEMBLE_BACKBONES, 480)):
        members = resolve_members("ensemble", backbones, size, {})
        networks = [timed_network(member, size) for member in members]
        timed.append(Ensemble(f"{', '.join(backbones)} at {size} px", tuple(networks)))
    return timed


def needs(costs: NightCosts, ensemble: Ensemble, night: NightSize) -> Needs:
    """Return the requirements of a nightly run with an ensemble.

    Args:
        costs: Costs of nightly runs with one small backbone.
        ensemble: Members of the ensemble.
        night: Size of the nightly run.
    """
    cpu: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    gpu: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    card = 0.0
    faster = _GPU_PRODUCTS / costs.products
    for network in ensemble.networks:
        steps, entries = steps_and_entries(night, network)
        calls = {"fit": night.learned * steps * _GPU_STEP, "select": night.learned * entries * _GPU_PICK}
        for stage, (categories, amount) in work_amounts(night, network).items():
            share = 1 / len(ensemble.networks) if stage in _ONCE else 1.0
            around, busy = share * costs.category[stage] * categories, share * costs.work[stage] * amount
            if stage == "extract":  # The CPUs decode the images also if there is a GPU.
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
    banks = sum(
        network.coreset * fitted * network.cells * network.dim * costs.bank_bytes for network in ensemble.networks
    )
    return Needs(
        cpu=cpu,
        gpu=gpu,
        card=card,
        driver=driver + sum(costs.start.values()),
        head=grown * night.listed,
        scratch=night.images * ensemble.scratch,
        models=night.categories * banks * _KEPT,
        scores=night.categories * night.today * costs.score_bytes,
        pages=night.categories * costs.report_bytes,
    )


def nodes(core_seconds: float, card_seconds: float, left: float) -> int:
    """Return the number of nodes that complete the work in the time that the driver leaves.

    Args:
        core_seconds: Work of the CPUs in core-seconds.
        card_seconds: Work of the GPUs in seconds of one GPU; each node has one.
        left: Available wall time in seconds.
    """
    return max(1, ceil(max(core_seconds / _CORES, card_seconds) / max(left, 1.0)))


def bottleneck(night_needs: Needs, node_count: int) -> str:
    """Return the name of the first limit that a nightly run exceeds; an empty string if it exceeds none.

    Args:
        night_needs: Requirements of the nightly run.
        node_count: Number of nodes.
    """
    if night_needs.head > _HEAD_MEMORY:
        return "the driver's memory"
    if night_needs.driver > _NIGHT / 2:
        return "the driver's time"
    if node_count > _MANY:
        return "nodes"
    if night_needs.scratch > node_count * _SCRATCH:
        return "scratch: waves"
    return ""


def size_table(costs: NightCosts, ensemble: Ensemble) -> TextTable:
    """Return the table of nightly runs of 10 to 100,000 categories and 10^4 to 10^8 images per day.

    Args:
        costs: Costs of nightly runs with one small backbone.
        ensemble: Members of the ensemble.
    """
    lines = []
    for categories, images in _SIZES:
        night = NightSize(categories, max(1, round(_CHANGED * categories)), _GOOD, -(-images // categories))
        needed = needs(costs, ensemble, night)
        left = _NIGHT - needed.driver
        without_gpu, with_gpu = sum(needed.cpu.values()), sum(needed.gpu.values())
        cpu_nodes, gpu_nodes = nodes(without_gpu, 0.0, left), nodes(with_gpu, needed.card, left)
        lines.append(
            [
                f"{categories:,}",
                f"{images:,}",
                f"{without_gpu / 3600:,.1f}",
                f"{cpu_nodes:,}" if left > 0 else "-",
                f"{with_gpu / 3600:,.1f}",
                f"{needed.card / 3600:,.2f}",
                f"{gpu_nodes:,}" if left > 0 else "-",
                f"{needed.driver / 3600:,.2f}",
                *(
                    f"{amount / 1e9:,.1f}"
                    for amount in (needed.head, needed.scratch, needed.models, needed.scores, needed.pages)
                ),
                max(needed.cpu, key=lambda stage: needed.cpu[stage]),
                bottleneck(needed, cpu_nodes),
            ]
        )
    cpu_columns = ["categories", "images per day", "core-h", "nodes"]
    gpu_columns = ["with a GPU: core-h", "GPU-h", "nodes"]
    sizes = ["driver, h", "driver, GB", "scratch GB", "models GB", "scores GB", "pages GB"]
    return TextTable(
        title=f"Nightly runs of 8 hours with {ensemble.name}; nodes of {_CORES} cores",
        header=[*cpu_columns, *gpu_columns, *sizes, "longest stage", "limit"],
        lines=lines,
    )


def tables(threads: int, path: Path | None) -> Iterator[TextTable]:
    """Yield the check of the fit, unless the costs are read from a file, then the costs and the predictions.

    Args:
        threads: Number of CPU cores of this machine that the measured runs use.
        path: File of the costs: read if it exists, otherwise written. None uses no file.

    Raises:
        UsageError: Another version of this program wrote the file.
    """
    if path is not None and path.exists():
        costs = NightCosts.load(path)
    else:
        costs, predicted, measured = measure(threads)
        if path is not None:
            costs.save(path)
        yield check(predicted, measured)
    yield TextTable(
        title=f"Costs of small nightly runs on {costs.cores} cores",
        header=["stage", "constant, s", "core-s per category", "core-s per unit of work"],
        lines=[
            [stage, f"{costs.start[stage]:.2f}", f"{costs.category[stage]:.3f}", f"{costs.work[stage]:.2e}"]
            for stage in STAGES
        ],
    )
    for ensemble in ensembles():
        yield size_table(costs, ensemble)
