"""An object store that is slow, refuses requests and resets connections does not change the results.

If the store never returns an image, the category of the image fails; the image does not count as unreadable.
"""

from __future__ import annotations

import pytest

from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import fused_scores_file
from pipelines.storage.store import Store
from tests.faults.commands import STAGES, EnsembleCommand, command_in_store, finish, outcome_of
from tests.faults.proxy import StoreFaults, proxied
from tests.object_stores import copy_into, options_of

pytestmark = pytest.mark.slow


@pytest.mark.fault("unreliable object store", stages=tuple(STAGES))
@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("slow", StoreFaults(delay=0.2)),
        ("refusing", StoreFaults(refused=0.1)),
        ("breaking", StoreFaults(refused=0.05, broken=0.05, delay=0.05)),
    ],
)
def test_an_unreliable_store_does_not_change_the_results(
    undisturbed: EnsembleCommand, object_store: tuple[str, int], name: str, faults: StoreFaults
) -> None:
    direct = command_in_store(f"s3://lake/faults/{name}", options_of(*object_store))
    copy_into(undisturbed.data, direct.data)
    code, _ = call_through_proxy(faults, object_store, name)
    assert code in (0, 1)
    if code:
        finish(direct)
    assert outcome_of(Store.of(direct.out)) == undisturbed.outcome()
    assert not [info.path for info in Store.of(direct.options[1]).files()]


@pytest.mark.fault("image that the object store never returns", stages=("index",))
def test_an_image_that_is_never_returned_is_a_failure_of_its_category(
    undisturbed: EnsembleCommand, object_store: tuple[str, int]
) -> None:
    """In a first run, the other categories complete. If the image changes later, the earlier results remain."""
    name = "nut/train/good/003.png"
    direct = command_in_store("s3://lake/faults/never", options_of(*object_store))
    data, out = Store.of(direct.data), Store.of(direct.out)
    copy_into(undisturbed.data, direct.data)
    expected = undisturbed.outcome()

    code, errors = call_through_proxy(StoreFaults(never=name.encode()), object_store, "never")
    assert (code, out.read_json("run.json")["status"]) == (1, "partial")
    assert f"nut: failed in index: {name}: The object store could not return the file" in errors
    assert {file for file in outcome_of(out) if file.startswith("scores/fused")} == {
        fused_scores_file(category) for category in ("bolt", "cloth")
    }
    read = {row["image_path"] for row in read_rows(out, "index.parquet") if row["category"] == "nut"}
    assert read
    assert name not in read
    finish(direct)
    assert outcome_of(out) == expected

    original = data.read(name)
    data.write(name, data.read("nut/train/good/004.png"))
    code, _ = call_through_proxy(StoreFaults(never=name.encode()), object_store, "never")
    assert code == 1
    assert {**outcome_of(out), "failures.parquet": None} == {**expected, "failures.parquet": None}
    data.write(name, original)
    finish(direct)
    assert outcome_of(out) == expected


def call_through_proxy(faults: StoreFaults, object_store: tuple[str, int], name: str) -> tuple[int, str]:
    """Call the command of a test through a proxy with faults.

    Args:
        faults: Faults of the connections.
        object_store: Host and port of the store.
        name: Name of the folder in the store.

    Returns:
        Exit code and error output of the command.
    """
    with proxied(object_store, faults) as port:
        running = command_in_store(f"s3://lake/faults/{name}", options_of("127.0.0.1", port)).start()
        _, errors = running.communicate(timeout=600)
    assert "Traceback" not in errors
    return running.returncode, errors
