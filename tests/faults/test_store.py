"""An object store that is slow, refuses one request in ten and breaks others off: the results are the same. A picture
that it never gives is its category's failure, and no unreadable picture."""

from __future__ import annotations

import pytest

from pipelines.rundir import fused_scores_file
from pipelines.storage import Store
from pipelines.tables import read_rows
from tests.faults.places import STAGES, Place, finish, outcome_of, place_in
from tests.faults.proxy import Weather, proxied
from tests.object_stores import copy_into, options_of

pytestmark = pytest.mark.slow


@pytest.mark.fault("an object store in bad weather", stages=tuple(STAGES))
@pytest.mark.parametrize(
    ("name", "weather"),
    [
        ("slow", Weather(delay=0.2)),
        ("refusing", Weather(refused=0.1)),
        ("breaking", Weather(refused=0.05, broken=0.05, delay=0.05)),
    ],
)
def test_it_costs_time_and_nothing_else(
    calm: Place, object_store: tuple[str, int], name: str, weather: Weather
) -> None:
    straight = place_in(f"s3://lake/weather/{name}", options_of(*object_store))
    copy_into(calm.data, straight.data)
    code, _ = called_in(weather, object_store, name)
    assert code in (0, 1)
    if code:
        finish(straight)
    assert outcome_of(Store.of(straight.out)) == calm.outcome()
    assert not [info.path for info in Store.of(straight.more[1]).files()]


@pytest.mark.fault("a picture that an object store never gives", stages=("index",))
def test_a_picture_that_is_never_given_is_its_categorys_failure(calm: Place, object_store: tuple[str, int]) -> None:
    """At first: the others are done. Later, where there is another in its place: what was made of it stands."""
    name = "nut/train/good/003.png"
    straight = place_in("s3://lake/weather/never", options_of(*object_store))
    data, out = Store.of(straight.data), Store.of(straight.out)
    copy_into(calm.data, straight.data)
    undisturbed = calm.outcome()

    code, errors = called_in(Weather(never=name.encode()), object_store, "never")
    assert (code, out.read_json("run.json")["status"]) == (1, "partial")
    assert f"nut: failed in index: {name}: The object store does not give it" in errors
    found = outcome_of(out)
    assert {each for each in found if each.startswith("scores/fused")} == {
        fused_scores_file(category) for category in ("bolt", "cloth")
    }
    read = {row["image_path"] for row in read_rows(out, "index.parquet") if row["category"] == "nut"}
    assert read
    assert name not in read
    finish(straight)
    assert outcome_of(out) == undisturbed

    picture = data.read(name)
    data.write(name, data.read("nut/train/good/004.png"))
    code, _ = called_in(Weather(never=name.encode()), object_store, "never")
    assert code == 1
    told = "failures.parquet"
    assert {**outcome_of(out), told: None} == {**undisturbed, told: None}
    data.write(name, picture)
    finish(straight)
    assert outcome_of(out) == undisturbed


def called_in(weather: Weather, object_store: tuple[str, int], name: str) -> tuple[int, str]:
    """A call that sees the store through a weather: its exit code, and what it said of failures."""
    with proxied(*object_store, weather) as gate:
        running = place_in(f"s3://lake/weather/{name}", options_of("127.0.0.1", gate)).start()
        _, errors = running.communicate(timeout=600)
    assert "Traceback" not in errors
    return running.returncode, errors
