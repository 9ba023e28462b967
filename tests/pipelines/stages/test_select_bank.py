"""Tests of the selection of memory banks: the device, the entries and their index."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.config.networks import Network
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.planning.cache_keys import Keys
from pipelines.planning.jobs import MemberJob
from pipelines.stages import select_bank
from pipelines.storage.feature_shards import write_shard
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import bank_index_name, bank_name, model_folder
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from pipelines.storage.tensors import read_tensors
from tests.pipelines.runs import MEMBER


class _DeviceError(Exception):
    """Raised instead of a computation, with the requested device, so that the test needs no GPU."""


def _raise_device(*given: Any, **options: Any) -> None:
    raise _DeviceError(options["device"])


@pytest.fixture
def job() -> MemberJob:
    """Return the job of a member with four fit images of 16 patches each."""
    images = tuple(ImageRecord("cloth", "train", "good", str(image), part="fit") for image in range(4))
    return MemberJob(
        category="cloth",
        member=replace(MEMBER, epochs=0, coreset=0.25),
        keys=Keys("", "", "model", "", ""),
        network=Network("", "", 16, 6),
        images=images,
        fit_shards=("shard",),
        score_shards=("shard",),
        fit=False,
        select=True,
        score=True,
    )


def context_of(root: Path, job: MemberJob, gpus: float = 0.0) -> RunContext:
    scratch, out = Store.of(str(root / "scratch")), Store.of(str(root / "run"))
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    write_shard(scratch, "shard", list("0123"), list(features), grid=(4, 4))
    config = RunConfig(command="ensemble", data="", out="", members=(job.member,), image_size=96, gpus_per_actor=gpus)
    return RunContext(config=config, data=out, out=out, scratch=scratch, provenance=Provenance("", datetime.now(UTC)))


@pytest.mark.parametrize(("gpus", "device"), [(0.0, "cpu"), (0.5, "cuda")])
def test_coresets_are_computed_on_the_device(
    job: MemberJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, gpus: float, device: str
) -> None:
    monkeypatch.setattr(select_bank, "farthest_first", _raise_device)
    with pytest.raises(_DeviceError) as raised:
        select_bank.select_member(job, context_of(tmp_path, job, gpus), lambda *_: None)
    assert raised.value.args == (device,)


def test_bank_entries_are_the_patches_that_the_index_names(job: MemberJob, tmp_path: Path) -> None:
    context = context_of(tmp_path, job)
    result = select_bank.select_member(job, context, lambda *_: None)
    folder = context.out.below(model_folder("cloth"))
    entries = read_tensors(folder, bank_name(job.backbone))["entries"]
    index = read_rows(folder, bank_index_name(job.backbone))
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    patches = [features[int(row["image_path"]), 4 * row["row"] + row["col"]] for row in index]
    np.testing.assert_array_equal(entries, np.array(patches, np.float32))
    assert result.detail["patches"] == 64
    assert result.detail["entries"] == len(index) == 16
