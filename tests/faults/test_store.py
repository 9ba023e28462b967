"""An object store that is slow, refuses one request in ten and breaks others off: the results are the same."""

from __future__ import annotations

import pytest

from pipelines.storage import Store
from tests.faults.places import Place, outcome_of
from tests.faults.proxy import Weather, proxied

pytestmark = pytest.mark.slow


def options(port: int) -> str:
    return f"endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1"


@pytest.mark.fault("an object store in bad weather")
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
    data = Store.of(f"s3://lake/weather/{name}/data?{options(port)}")
    local = Store.of(calm.data)
    for info in local.files():
        data.write(local.name_of(info), local.read(local.name_of(info)))
    with proxied(host, port, weather) as gate:
        root, query = f"s3://lake/weather/{name}", options(gate)
        place = Place(f"{root}/data?{query}", f"{root}/run?{query}", ("--scratch", f"{root}/scratch?{query}"))
        running = place.start()
        output, errors = running.communicate(timeout=600)
        assert running.returncode in (0, 1), output + errors
        assert "Traceback" not in errors
    straight = Place(
        f"{root}/data?{options(port)}", f"{root}/run?{options(port)}", ("--scratch", f"{root}/scratch?{options(port)}")
    )
    if running.returncode:
        straight.finish()
    assert outcome_of(Store.of(straight.out)) == calm.outcome()
    assert not [info.path for info in Store.of(f"{root}/scratch?{options(port)}").files()]
