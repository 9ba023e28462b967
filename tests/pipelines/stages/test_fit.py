"""Tests of the training of members: it resumes from checkpoints, and a failure stays with its member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipelines.config.networks import Network
from pipelines.config.presets import resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.records import ImageRecord
from pipelines.planning.cache_keys import Keys
from pipelines.planning.jobs import MemberJob
from pipelines.stages.fit import _fit_in_worker, fit_member
from pipelines.storage.feature_shards import write_shard
from pipelines.storage.paths import adapter_name, checkpoint_file, model_folder, training_name
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from pipelines.storage.tensors import write_tensors
from reconpatch.adapter import training as adapter


def one_member() -> MemberJob:
    (member,) = resolve_members("ensemble", ["tf_efficientnet_lite0"], 224, {})
    keys, network = Keys("", "", "", "", ""), Network("", "", 1, 1)
    images = tuple(ImageRecord("", "train", "good", str(image), part="fit") for image in range(4))
    return MemberJob(
        category="cloth",
        member=member,
        keys=keys,
        network=network,
        images=images,
        fit_shards=("shard",),
        score_shards=(),
        fit=True,
        select=True,
        score=True,
    )


def fit(job: MemberJob, config: RunConfig, out: Store, scratch: Store, *, on_step: Callable[[int, int], None]) -> None:
    provenance = Provenance("", datetime.now(UTC))
    fit_member(job, RunContext(config=config, data=out, out=out, scratch=scratch, provenance=provenance), on_step)


def test_training_resumes_from_the_checkpoint_after_a_worker_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "KEEP_EVERY", 0)
    scratch, job = Store.of(str(tmp_path / "scratch")), one_member()
    features = np.random.default_rng(0).normal(size=(4, 16, 6)).astype(np.float16)
    write_shard(scratch, "shard", list("0123"), list(features), grid=(4, 4))
    job = replace(job, member=replace(job.member, dim=8, epochs=50))
    config = RunConfig(
        command="ensemble", data="", out="", members=(job.member,), image_size=96, batch_size=16, max_steps=40
    )
    steps: list[int] = []

    def until(last: int) -> Callable[[int, int], None]:
        def on_step(step: int, of: int) -> None:
            steps.append(step)
            if step == last:
                raise KeyboardInterrupt  # not caught as a failure of the member, like the death of the process

        return on_step

    whole, parts = Store.of(str(tmp_path / "whole")), Store.of(str(tmp_path / "parts"))
    fit(job, config, whole, scratch, on_step=until(0))
    assert steps == list(range(1, 41))
    scratch.remove(checkpoint_file(*job.name))  # as the worker does after it has returned its result
    steps.clear()
    for last in (15, 31):
        with pytest.raises(KeyboardInterrupt):
            fit(job, config, parts, scratch, on_step=until(last))
    fit(job, config, parts, scratch, on_step=until(0))
    assert steps == [*range(1, 16), *range(15, 32), *range(31, 41)]  # a step is reported before its checkpoint is saved
    for name in (adapter_name(job.backbone), training_name(job.backbone)):
        folder = model_folder(job.category)
        assert whole.below(folder).read(name) == parts.below(folder).read(name)
    steps.clear()  # a worker that dies after training, before it returns its result, resumes at the end as well
    fit(job, config, parts, scratch, on_step=until(0))
    assert len(steps) <= 1


def test_a_checkpoint_with_another_key_is_ignored(tmp_path: Path) -> None:
    scratch, job = Store.of(str(tmp_path)), one_member()
    write_shard(scratch, "shard", list("0123"), list(np.ones((4, 4, 6), np.float16)), grid=(2, 2))
    write_tensors(scratch, checkpoint_file(*job.name), {"f": np.zeros((2, 2))}, "another key")
    job = replace(job, member=replace(job.member, dim=8, epochs=5))
    config = RunConfig(
        command="ensemble", data="", out="", members=(job.member,), image_size=96, batch_size=16, max_steps=4
    )
    steps: list[int] = []
    fit(job, config, scratch, scratch, on_step=lambda step, of: steps.append(step))
    assert steps[:1] == [1]


def test_a_failure_in_a_worker_is_returned_as_the_result_of_the_member() -> None:
    job = one_member()
    config = RunConfig(command="ensemble", data="", out="", members=(job.member,), image_size=96)
    nowhere = Store.of("/nothing/here")
    provenance = Provenance("", datetime.now(UTC))
    context = RunContext(config=config, data=nowhere, out=nowhere, scratch=nowhere, provenance=provenance)
    result = _fit_in_worker(job, context, lambda step, of: None)
    assert result.error is not None
    assert "shard" in result.error or "nothing" in result.error
