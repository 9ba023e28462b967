"""A category whose features are larger than what a process may have, and an object store that is never too small."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.faults.places import STAGES
from tests.pipelines.runs import BACKBONES, call_alone, texture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")]
# Bytes of memory of its own that a process may have: 2.5 GB are what PyTorch, Ray and Arrow reserve before anything is
# done. Mapped files are no process's own.
_DATA = 3_200 << 20
_STACK = 1 << 20  # a thread's: by default each of Ray's hundred counts as 8 MB, whatever it uses
_IMAGES = 600
_BYTES = 56 * 56 * 1024 * 2  # of an image's features at 224 px, stride 4, with PatchCore's aggregation, in float16


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK, _STACK))
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA, _DATA))


@pytest.mark.fault("features larger than a process's memory", stages=tuple(STAGES), outcome="done")
def test_a_category_larger_than_memory_is_learned_and_scored(tmp_path: Path) -> None:
    assert _IMAGES * _BYTES > 1.1 * _DATA
    good = tmp_path / "data" / "cloth" / "train" / "good"
    good.mkdir(parents=True)
    for number in range(_IMAGES):
        Image.fromarray(texture(number, 60, 60)).save(good / f"{number:04d}.png", compress_level=1)
    place = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--keep-features", "--workers", "1")
    recipe = ("--backbone", BACKBONES[0], "--image-size", "224", "--levels", "1,2", "--aggregation", "patchcore")
    short = ("--dim", "64", "--max-steps", "100", "--coreset", "0.0002", "--holdout", "0", "--no-report")
    command = [sys.executable, "-m", "pipelines", "ensemble", *place, *recipe, *short]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [path for path in (tmp_path / "run" / "_scratch").rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".arrow"}
    assert sum(path.stat().st_size for path in kept) > 1.1 * _DATA
    scores = pq.read_table(tmp_path / "run" / "scores" / "fused" / "cloth.parquet")["score"].to_numpy()
    assert len(scores) == _IMAGES
    assert np.isfinite(scores).all()


def test_the_limit_is_one(tmp_path: Path) -> None:
    """What wants as much memory of its own as those features have gets none."""
    wanting = f"import numpy; numpy.ones({_IMAGES * _BYTES}, numpy.uint8)"
    done = subprocess.run([sys.executable, "-c", wanting], capture_output=True, text=True, preexec_fn=limited)
    assert "MemoryError" in done.stderr


@pytest.mark.fault("an object store of 80 MB, which never spills", stages=tuple(STAGES), outcome="done")
def test_the_demo_spills_nothing(tmp_path: Path) -> None:
    from ray._private.internal_api import memory_summary
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 << 20})
    try:
        done = call_alone("demo", "--out", str(tmp_path / "run"), "--address", cluster.address, timeout=600)
        assert done.code == 0, done.stderr
        told = memory_summary(cluster.address, stats_only=True)
    finally:
        cluster.shutdown()
    assert "Plasma memory usage" in told
    assert "Spilled" not in told
