"""An object store that is slow, refuses one request in ten and breaks others off: the results are the same."""

from __future__ import annotations

import pytest

from pipelines.storage import Store
from tests.faults.places import STAGES, Place, finish, outcome_of
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
    host, port = object_store
    root, direct = f"s3://lake/weather/{name}", options_of(host, port)
    copy_into(calm.data, f"{root}/data?{direct}")
    with proxied(host, port, weather) as gate:
        query = options_of("127.0.0.1", gate)
        place = Place(f"{root}/data?{query}", f"{root}/run?{query}", ("--scratch", f"{root}/scratch?{query}"))
        running = place.start()
        output, errors = running.communicate(timeout=600)
        assert running.returncode in (0, 1), output + errors
        assert "Traceback" not in errors
    straight = Place(f"{root}/data?{direct}", f"{root}/run?{direct}", ("--scratch", f"{root}/scratch?{direct}"))
    if running.returncode:
        finish(straight)
    assert outcome_of(Store.of(straight.out)) == calm.outcome()
    assert not [info.path for info in Store.of(f"{root}/scratch?{direct}").files()]
