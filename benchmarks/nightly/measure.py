"""Measure the cost of each stage with small nightly runs, and check the fit with a larger one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.compare import TextTable
from benchmarks.inputs import BACKBONE, SIZE, elpv_images, folder_of
from benchmarks.nightly.costs import LARGE, SMALL, STAGES, NetworkCosts, NightCosts, NightSize, fit, seconds
from benchmarks.processes import run
from pipelines.config.member import Member
from pipelines.config.presets import resolve_members
from reconpatch.features.backbones import Backbone, find_weights, load_backbone
from reconpatch.features.patches import extract_features
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image

_LISTED = 50_000  # images in the timed listing
_IMAGES = 4  # per batch


def measure(threads: int) -> tuple[NightCosts, dict[str, float], dict[str, float]]:
    """Run the small nightly runs, fit the costs, and run the large nightly run.

    Args:
        threads: Number of CPU cores of this machine that the runs use.

    Returns:
        The costs, and the predicted and the measured seconds of each stage of the large nightly run.
    """
    (member,) = resolve_members("ensemble", (BACKBONE,), SIZE, {})
    network = timed_network(member, SIZE)
    nights = [_run_night(size) for size in SMALL]
    start, category, work = fit(
        {stage: [night.seconds[stage] for night in nights] for stage in STAGES}, network, threads
    )
    costs = NightCosts(
        network=network,
        start=start,
        category=category,
        work=work,
        cores=threads,
        listing=_listing_costs(),
        # The minimum is that of the largest files, in which headers and footers have the smallest share.
        bank_bytes=min(night.bank_bytes for night in nights),
        score_bytes=min(night.score_bytes for night in nights),
        report_bytes=min(night.report_bytes for night in nights),
        products=_products_per_second(),
    )
    return costs, seconds(costs, LARGE, threads), _run_night(LARGE).seconds


def check(predicted: Mapping[str, float], measured: Mapping[str, float]) -> TextTable:
    """Return the table of predicted and measured times of the large nightly run.

    Args:
        predicted: Stage -> predicted seconds.
        measured: Stage -> measured seconds.
    """
    lines = [[stage, f"{predicted[stage]:.1f}", f"{measured[stage]:.1f}"] for stage in STAGES]
    lines.append(["all", f"{sum(predicted.values()):.1f}", f"{sum(measured.values()):.1f}"])
    largest = max(size.images for size in SMALL)
    return TextTable(
        title=(
            f"Nightly run of {LARGE.images:,} images in {LARGE.categories} categories, "
            f"{LARGE.images / largest:.1f} times as large as the largest fitted one"
        ),
        header=["stage", "predicted, s", "measured, s"],
        lines=lines,
    )


@dataclass(frozen=True, kw_only=True)
class _MeasuredNight:
    """Measured costs of one nightly run.

    Attributes:
        seconds: Stage -> seconds.
        bank_bytes: Bytes of a stored model per number in its memory bank.
        score_bytes: Bytes of the score files per scored image.
        report_bytes: Bytes of the report per category.
    """

    seconds: dict[str, float]
    bank_bytes: float
    score_bytes: float
    report_bytes: float


def _run_night(size: NightSize) -> _MeasuredNight:
    """Measure a first nightly run and its report."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = folder_of(root / "data", size.categories, size.good, size.today)
        folders = ["--data", str(data), "--registry", str(root / "registry"), "--scores", str(root / "scores")]
        command = [sys.executable, "-m", "pipelines"]
        # The acceptance test accepts every candidate, because a rejected one would change the exit code.
        options = ["--image-size", str(SIZE), "--backbone", BACKBONE, "--acceptance-suspects", "1", "--no-report"]
        whole = run([*command, "nightly", *folders, *options]).seconds
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
    return _MeasuredNight(
        seconds=taken,
        bank_bytes=bank_bytes / numbers,
        score_bytes=scores / (size.categories * size.today),
        report_bytes=pages / size.categories,
    )


def timed_network(member: Member, size: int) -> NetworkCosts:
    """Return the sizes and costs of a member at an image size, timed on one core.

    Args:
        member: Backbone and recipe.
        size: Side of the backbone's input in pixels.
    """
    backbone = untrained_backbone(member, size)
    batch = np.random.default_rng(0).random((_IMAGES, 3, size, size), dtype=np.float32)
    forward = _quickest(lambda: extract_features(backbone, batch, member.patch_size, member.aggregation))
    features, _ = extract_features(backbone, batch[:1], member.patch_size, member.aggregation)
    _, cells, width = features.shape
    dim = min(member.dim, width) if member.adapted else width
    encoded = [path.read_bytes() for path in elpv_images()[:_IMAGES]]
    decode = _quickest(lambda: [_decoded(content, size) for content in encoded])
    return NetworkCosts(
        cells=cells,
        width=width,
        dim=dim,
        coreset=member.coreset,
        epochs=member.epochs,
        forward=forward / _IMAGES,
        decode=decode / _IMAGES,
    )


def _decoded(content: bytes, size: int) -> object:
    image = read_image(content)
    return preprocess(image, Geometry.of(image.shape[0], image.shape[1], size, full_frame=True))


def untrained_backbone(member: Member, size: int, device: str = "cpu") -> Backbone:
    """Return a backbone to be timed. It has random weights if none are installed, which does not change its speed.

    Args:
        member: Backbone and recipe.
        size: Side of the backbone's input in pixels.
        device: Device of torch, such as 'cpu' or 'cuda'.
    """
    import timm

    with tempfile.TemporaryDirectory() as folder:
        name = member.backbone.split(".")[0]
        if find_weights(member.backbone, None) is None:
            save_file(timm.create_model(name).state_dict(), str(Path(folder) / f"{name}.safetensors"))
        return load_backbone(name, member.layers, image_size=size, weights=folder, device=device)


def _quickest(work: Callable[[], Any]) -> float:
    """Return the shortest time of three calls on one core, in seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return min(taken)


def _products_per_second() -> float:
    """Return the multiplications and additions per second of one core, for comparison with the data sheet of a GPU."""
    matrix = torch.rand(2048, 2048)
    return 2048**3 / _quickest(lambda: matrix @ matrix)


def _listing_costs() -> tuple[float, float]:
    """Return seconds and bytes per listed image, measured in a new process so that its peak memory is comparable."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "many" / "train" / "good"
        data.mkdir(parents=True)
        whole = elpv_images()[0].read_bytes()
        for number in range(_LISTED):
            if number % 10_000 == 0:  # File systems limit the number of hard links to a file.
                first = data / f"{number:06d}.png"
                first.write_bytes(whole)
            else:
                (data / f"{number:06d}.png").hardlink_to(first)
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.nightly.listing", folder], capture_output=True, text=True, check=True
        ).stdout
    taken, grown = map(float, output.split())
    return taken / _LISTED, grown / _LISTED
