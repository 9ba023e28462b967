"""A category whose features exceed the memory of a process, and a small Ray object store without spilling."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.faults.commands import STAGES
from tests.pipelines.runs import BACKBONES, call_alone, texture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA works as needed only on Linux"),
]
# Limit on the private memory of a process in bytes. PyTorch, Ray and Arrow reserve 2.5 GB before any work. Mapped files
# do not count.
_DATA = 3_200 << 20
_STACK = 1 << 20  # bytes per thread; by default, each of Ray's hundred threads counts as 8 MB
_IMAGES = 600
_BYTES = 56 * 56 * 1024 * 2  # float16 features of an image at 224 px with stride 4 and PatchCore's aggregation


def limited() -> None:
    """Limit the private memory of this process and of the processes that it starts."""
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK, _STACK))
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA, _DATA))


@pytest.mark.fault("features larger than the memory of a process", stages=tuple(STAGES), outcome="completes")
def test_a_category_larger_than_memory_is_trained_and_scored(tmp_path: Path) -> None:
    assert _IMAGES * _BYTES > 1.1 * _DATA
    good = tmp_path / "data" / "cloth" / "train" / "good"
    good.mkdir(parents=True)
    for number in range(_IMAGES):
        Image.fromarray(texture(number, 60, 60)).save(good / f"{number:04d}.png", compress_level=1)
    folders = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--keep-features", "--workers", "1")
    recipe = ("--backbone", BACKBONES[0], "--image-size", "224", "--layers", "1,2", "--aggregation", "patchcore")
    short = ("--dim", "64", "--max-steps", "100", "--coreset", "0.0002", "--holdout", "0", "--no-report")
    command = [sys.executable, "-m", "pipelines", "ensemble", *folders, *recipe, *short]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    shards = [path for path in (tmp_path / "run" / "_scratch").rglob("*") if path.is_file()]
    assert {path.suffix for path in shards} == {".arrow"}
    assert sum(path.stat().st_size for path in shards) > 1.1 * _DATA
    scores = pq.read_table(tmp_path / "run" / "scores" / "fused" / "cloth.parquet")["score"].to_numpy()
    assert len(scores) == _IMAGES
    assert np.isfinite(scores).all()


def test_the_limit_is_effective(tmp_path: Path) -> None:
    """An allocation as large as the features fails."""
    program = f"import numpy; numpy.ones({_IMAGES * _BYTES}, numpy.uint8)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=limited)
    assert "MemoryError" in done.stderr


@pytest.mark.fault("Ray object store of 80 MB, without spilling", stages=tuple(STAGES), outcome="completes")
def test_the_demo_does_not_spill(tmp_path: Path) -> None:
    from ray._private.internal_api import memory_summary
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 << 20})
    try:
        done = call_alone("demo", "--out", str(tmp_path / "run"), "--address", cluster.address, timeout=600)
        assert done.code == 0, done.stderr
        summary = memory_summary(cluster.address, stats_only=True)
    finally:
        cluster.shutdown()
    assert "Plasma memory usage" in summary
    assert "Spilled" not in summary
