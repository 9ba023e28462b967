"""What each stage of a night costs, from small nights run here; a night at least four times as large checks it.

A stage takes a start, a cost a category, and a cost a unit of its own work (an image, a training step, a product of
matrices). The three are fitted to a few small nights, each relative to what it took, so that none outweighs the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import nnls

from benchmarks.inputs import BACKBONE, SIZE, elpv_images, folder_of
from benchmarks.processes import run
from pipelines.config import RECIPES, Member, resolve_members
from reconpatch.backbones import find_weights, load_backbone
from reconpatch.patches import extract_features

STAGES = ("index", "extract", "fit", "select", "score", "fuse", "judge", "report", "driver")
_HOLDOUT, _BATCH = 0.2, 512
_LISTED = 50_000  # images that are listed to see what one takes
_IMAGES = 4  # of a batch
_SHORT = 0.05  # seconds below which a stage is all noise


@dataclass(frozen=True)
class Network:
    """What a network of the ensemble makes an image into, and what that takes.

    Attributes:
        cells: patches of an image.
        width: channels of a patch, before the adapter.
        dim: D, behind it.
        coreset: the bank's share of the patches.
        epochs: of the adapter's training, as far as the most steps allow.
        forward: core-seconds of the network, an image.
    """

    cells: int
    width: int
    dim: int
    coreset: float
    epochs: int
    forward: float

    @property
    def step(self) -> float:
        """Multiplications and additions of a training step, in billions: through f and back, and all pairs."""
        return 1e-9 * _BATCH * self.dim * (3 * self.width + 3 * _BATCH)


@dataclass(frozen=True)
class Night:
    """A night's size.

    Attributes:
        categories: how many there are.
        learned: how many of them are learned.
        good, today: images of a category, to learn from and to be judged.
    """

    categories: int
    learned: int
    good: int
    today: int

    @property
    def images(self) -> int:
        """That go through the networks, once."""
        return self.learned * self.good + self.categories * self.today

    @property
    def listed(self) -> int:
        """That are looked for and compared with the night before's."""
        return self.categories * (self.good + self.today)


# The first are fitted, the last is predicted.
SMALL = (Night(2, 2, 30, 20), Night(2, 2, 80, 20), Night(6, 6, 30, 20), Night(3, 3, 30, 80), Night(24, 24, 6, 4))
LARGE = Night(12, 12, 90, 60)


@dataclass(frozen=True)
class Costs:
    """What was measured with one network, `network`.

    Attributes:
        start: seconds of each stage, however little there is to do.
        category, work: core-seconds of each stage a category, and a unit of its work (`works`).
        cores: of the machine.
        listing: seconds and bytes of the driver, an image that is listed.
        bank_bytes, score_bytes: of a number in a bank, and of a judged image's row.
        report_bytes: of a category's page.
        products: a core's multiplications and additions a second.
    """

    network: Network
    start: dict[str, float]
    category: dict[str, float]
    work: dict[str, float]
    cores: int
    listing: tuple[float, float]
    bank_bytes: float
    score_bytes: float
    report_bytes: float
    products: float

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Costs:
        told = json.loads(path.read_text())
        return cls(**{**told, "network": Network(**told["network"]), "listing": tuple(told["listing"])})


def works(night: Night, network: Network) -> dict[str, tuple[float, float]]:
    """Categories, and units of its own work, that each stage has to do: images, or billions of products.

    Of the held-out images of a category that is learned the gate asks twice: as they are, and with pasted defects.
    """
    patches = (1.0 - _HOLDOUT) * night.good * network.cells
    entries = max(1.0, network.coreset * patches)
    product = 1e-9 * entries * network.dim * network.cells  # an image against the bank
    asked = 2 * _HOLDOUT * night.good * night.learned
    learned, judged = night.learned * night.good, night.categories * night.today
    steps = min(np.ceil(network.epochs * patches / _BATCH), RECIPES["default"]["max_steps"])
    return {
        "index": (night.categories, learned + judged),
        "extract": (night.categories, learned + asked / 2 + judged),
        "fit": (night.learned, night.learned * steps * network.step),
        "select": (night.learned, night.learned * 1e-9 * patches * entries * network.dim),
        "score": (night.learned, learned * product),
        "fuse": (night.learned, learned),
        "judge": (night.categories, (asked + judged) * product),
        "report": (night.categories, judged),
        "driver": (night.categories, 0.0),
    }


def seconds(costs: Costs, night: Night, cores: int) -> dict[str, float]:
    """Wall seconds of each stage with the network that was measured; the driver is one process, whatever there is."""
    found = {}
    for stage, (categories, amount) in works(night, costs.network).items():
        busy = costs.category[stage] * categories + costs.work[stage] * amount
        found[stage] = costs.start[stage] + busy / (1 if stage == "driver" else cores)
    return found


def measure(threads: int) -> tuple[Costs, dict[str, float], dict[str, float]]:
    """Run the small nights, fit the costs, and run the large one: costs, seconds predicted, and seconds it took."""
    (member,) = resolve_members("ensemble", (BACKBONE,), SIZE, {})
    network = network_of(member, SIZE)
    told = [_night(size) for size in SMALL]
    start, category, work = fit(
        {stage: [each["seconds"][stage] for each in told] for stage in STAGES}, network, threads
    )
    # Of the largest files: what a file has at its ends counts for little there.
    bank, score, report = (min(each[name] for each in told) for name in ("bank_bytes", "score_bytes", "report_bytes"))
    costs = Costs(network, start, category, work, threads, _listing(), bank, score, report, _products())
    return costs, seconds(costs, LARGE, threads), _night(LARGE)["seconds"]


def fit(
    taken: Mapping[str, Sequence[float]], network: Network, cores: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Start, cost a category and cost a unit of work of each stage, none below nothing, from seconds of `SMALL`.

    Each night counts by what is wrong of it in parts of what it took, so that the largest does not decide alone.
    """
    start, category, work = {}, {}, {}
    for stage in STAGES:
        amounts = np.array([works(size, network)[stage] for size in SMALL])
        scale = np.maximum(amounts.mean(axis=0), 1e-9)
        design = np.column_stack([np.ones(len(SMALL)), amounts / scale])
        seconds_of = np.maximum(taken[stage], _SHORT)
        (start[stage], *slopes), _ = nnls(design / seconds_of[:, None], np.ones(len(SMALL)))
        category[stage], work[stage] = np.array(slopes) / scale * (1 if stage == "driver" else cores)
    return start, category, work


def check(predicted: Mapping[str, float], taken: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """A table: the large night's stages as predicted, and as they were."""
    lines = [[stage, f"{predicted[stage]:.1f}", f"{taken[stage]:.1f}"] for stage in STAGES]
    lines.append(["all", f"{sum(predicted.values()):.1f}", f"{sum(taken.values()):.1f}"])
    largest = max(size.images for size in SMALL)
    header = (
        f"{LARGE.images:,} images in {LARGE.categories} categories, {LARGE.images / largest:.1f} × the largest fitted"
    )
    return [header, "predicted, s", "took, s"], lines


def _night(size: Night) -> dict[str, Any]:
    """Seconds of a first night's stages, and bytes of what it left."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = folder_of(root / "data", size.categories, size.good, size.today)
        place = ["--data", str(data), "--registry", str(root / "registry"), "--scores", str(root / "scores")]
        command = [sys.executable, "-m", "pipelines.cli"]
        # A gate that refuses nothing: a refusal is an exit code of its own.
        options = ["--image-size", str(SIZE), "--backbone", BACKBONE, "--gate-suspects", "1", "--no-report"]
        whole = run([*command, "nightly", *place, *options]).seconds
        (night,) = root.glob("scores/*")
        stages = json.loads((night / "run.json").read_text())["stages"]
        taken = {name: stages.get(name, {"seconds": 0.0})["seconds"] for name in STAGES}
        taken["driver"] = whole - sum(taken.values())
        taken["report"] = run([*command, "report", "--run", str(night)]).seconds
        banks = list(root.glob("registry/*/*/*/memory_bank.safetensors"))
        with safe_open(str(banks[0]), "np") as bank:
            numbers = float(np.prod(bank.get_slice("entries").get_shape()))
        scores = sum(path.stat().st_size for path in night.glob("scores/fused/*/*.parquet"))
        bank_bytes = sum(path.stat().st_size for path in banks[0].parent.iterdir())
        pages = sum(path.stat().st_size for path in night.glob("report/**/*") if path.is_file())
    return {
        "seconds": taken,
        "bank_bytes": bank_bytes / numbers,
        "score_bytes": scores / (size.categories * size.today),
        "report_bytes": pages / size.categories,
    }


def network_of(member: Member, size: int) -> Network:
    """A network at an image size, timed on one core with its patches.

    Its weights are drawn where there are none: numbers are as quick, whatever they are.
    """
    import timm

    with tempfile.TemporaryDirectory() as folder:
        if find_weights(member.backbone, None) is None:
            drawn = timm.create_model(member.backbone).state_dict()
            save_file(drawn, str(Path(folder) / f"{member.backbone.split('.')[0]}.safetensors"))
        name = member.backbone.split(".")[0]
        backbone = load_backbone(name, member.levels, image_size=size, weights=folder)
    batch = np.random.default_rng(0).random((_IMAGES, 3, size, size), dtype=np.float32)
    taken = _quickest(lambda: extract_features(backbone, batch, member.patch_size, member.aggregation))
    features, _ = extract_features(backbone, batch[:1], member.patch_size, member.aggregation)
    _, cells, width = features.shape
    dim = min(member.dim, width) if member.adapted else width
    return Network(cells, width, dim, member.coreset, member.epochs, taken / _IMAGES)


def _quickest(work: Callable[[], Any]) -> float:
    """Seconds on one core, of three turns the quickest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return min(taken)


def _products() -> float:
    """A core's, of matrices that fill its caches: what a graphics card's data sheet is compared with."""
    matrix = torch.rand(2048, 2048)
    return 2048**3 / _quickest(lambda: matrix @ matrix)


def _listing() -> tuple[float, float]:
    """In a process of its own, so that its memory is seen."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "many" / "train" / "good"
        data.mkdir(parents=True)
        whole = elpv_images()[0].read_bytes()
        for number in range(_LISTED):
            if number % 10_000 == 0:  # file systems have a limit of names a file
                first = data / f"{number:06d}.png"
                first.write_bytes(whole)
            else:
                (data / f"{number:06d}.png").hardlink_to(first)
        told = subprocess.run([sys.executable, "-c", _LIST, folder], capture_output=True, text=True, check=True).stdout
    took, grew = map(float, told.split())
    return took / _LISTED, grew / _LISTED


# What the driver does of a night in which nothing has changed.
_LIST = """
import sys, time
from dataclasses import replace
from pipelines.dataset import assign_parts, by_category, list_images, trust
from pipelines.resources import measured
from pipelines.rundir import INDEX, INDEX_FILE
from pipelines.storage import Store, read_rows, write_rows

def hashed(number, image):
    return replace(image, width=300, height=300, content_sha256=f"{number:064x}")

place = Store.of(sys.argv[1])
known = [hashed(*each).row() for each in enumerate(list_images(place).images)]
write_rows(place, INDEX_FILE, known, INDEX)
del known
with measured() as before:
    pass
with measured() as night:
    known = {row["image_path"]: row for row in read_rows(place, INDEX_FILE)}
    images = [trust(image, known) for image in list_images(place).images]
    images = assign_parts(images, 0.2)
    write_rows(place, INDEX_FILE, [image.row() for image in images], INDEX)
    found = by_category(images)
print(night.seconds, night.peak_bytes - before.peak_bytes)
"""
