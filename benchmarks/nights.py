"""Small nights, run here for what their stages cost; a night at least four times as large checks it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.costs import LARGE, SMALL, STAGES, NetworkCosts, NightCosts, NightSize, fit, seconds
from benchmarks.inputs import BACKBONE, SIZE, elpv_images, folder_of
from benchmarks.processes import run
from pipelines.config import Member, resolve_members
from reconpatch.backbones import Backbone, find_weights, load_backbone
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess, read_image
from reconpatch.patches import extract_features

_LISTED = 50_000  # images that are listed to see what one takes
_IMAGES = 4  # of a batch


def measure(threads: int) -> tuple[NightCosts, dict[str, float], dict[str, float]]:
    """Run the small nights, fit the costs, and run the large one: costs, seconds predicted, and seconds it took."""
    (member,) = resolve_members("ensemble", (BACKBONE,), SIZE, {})
    network = timed_network(member, SIZE)
    told = [_night(size) for size in SMALL]
    start, category, work = fit(
        {stage: [each["seconds"][stage] for each in told] for stage in STAGES}, network, threads
    )
    # Of the largest files: what a file has at its ends counts for little there.
    bank, score, report = (min(each[name] for each in told) for name in ("bank_bytes", "score_bytes", "report_bytes"))
    costs = NightCosts(network, start, category, work, threads, _listing(), bank, score, report, _products())
    return costs, seconds(costs, LARGE, threads), _night(LARGE)["seconds"]


def check(predicted: Mapping[str, float], taken: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """A table: the large night's stages as predicted, and as they were."""
    lines = [[stage, f"{predicted[stage]:.1f}", f"{taken[stage]:.1f}"] for stage in STAGES]
    lines.append(["all", f"{sum(predicted.values()):.1f}", f"{sum(taken.values()):.1f}"])
    largest = max(size.images for size in SMALL)
    header = (
        f"{LARGE.images:,} images in {LARGE.categories} categories, {LARGE.images / largest:.1f} × the largest fitted"
    )
    return [header, "predicted, s", "took, s"], lines


def _night(size: NightSize) -> dict[str, Any]:
    """Seconds of a first night's stages, and bytes of what it left."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = folder_of(root / "data", size.categories, size.good, size.today)
        place = ["--data", str(data), "--registry", str(root / "registry"), "--scores", str(root / "scores")]
        command = [sys.executable, "-m", "pipelines"]
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


def timed_network(member: Member, size: int) -> NetworkCosts:
    """A network at an image size, timed on one core with its patches."""
    backbone = drawn_backbone(member, size)
    batch = np.random.default_rng(0).random((_IMAGES, 3, size, size), dtype=np.float32)
    taken = _quickest(lambda: extract_features(backbone, batch, member.patch_size, member.aggregation))
    features, _ = extract_features(backbone, batch[:1], member.patch_size, member.aggregation)
    _, cells, width = features.shape
    dim = min(member.dim, width) if member.adapted else width
    pictures = [path.read_bytes() for path in elpv_images()[:_IMAGES]]
    decoded = _quickest(lambda: [_decoded(picture, size) for picture in pictures])
    return NetworkCosts(cells, width, dim, member.coreset, member.epochs, taken / _IMAGES, decoded / _IMAGES)


def _decoded(picture: bytes, size: int) -> object:
    image = read_image(picture)
    return preprocess(image, Geometry.of(image.shape[0], image.shape[1], size, full_frame=True))


def drawn_backbone(member: Member, size: int, device: str = "cpu") -> Backbone:
    """A network to be timed. Its weights are drawn where there are none: numbers are as quick, whatever they are."""
    import timm

    with tempfile.TemporaryDirectory() as folder:
        name = member.backbone.split(".")[0]
        if find_weights(member.backbone, None) is None:
            save_file(timm.create_model(name).state_dict(), str(Path(folder) / f"{name}.safetensors"))
        return load_backbone(name, member.levels, image_size=size, weights=folder, device=device)


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
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.listed", folder], capture_output=True, text=True, check=True
        ).stdout
    took, grew = map(float, told.split())
    return took / _LISTED, grew / _LISTED
