"""CloudEvents as usage: the modes there are, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.api.http.events import BATCH, EVENTS_MAX, STRUCTURED, usage_of_request
from control_plane.metering.records import KeyScope, UsageEntry
from weighbridge.rules.errors import InvalidArgumentError

NOW_MS = 1_764_000_000_000  # 2025-11-24T16:00:00Z


def event(**changes: Any) -> dict[str, Any]:
    made = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/apps/api",
        "type": "weighbridge.usage",
        "subject": "acme",
        "time": "2025-11-24T15:00:00Z",
        "data": {"feature": "calls", "amount": 3, "dimensions": {"model": "large"}},
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def structured(**changes: Any) -> list[UsageEntry]:
    body = json.dumps(event(**changes)).encode()
    return usage_of_request({"content-type": STRUCTURED}, body, NOW_MS)


def binary(data: bytes, **headers: str) -> list[UsageEntry]:
    told = {f"ce-{name}": str(value) for name, value in event().items() if name != "data"}
    told["content-type"] = "application/json"
    told.update({f"ce-{name}": value for name, value in headers.items()})
    return usage_of_request(told, data, NOW_MS)


def test_every_mode_says_the_same() -> None:
    (one,) = structured()
    assert (one.customer, one.feature, one.amount) == ("acme", "calls", 3)
    assert one.occurred_at_ms == NOW_MS - 3_600_000
    assert one.dimensions == (("model", "large"),)
    assert (one.key, one.key_scope) == ("/apps/api e-1", KeyScope.FLEET)
    data = json.dumps(event()["data"]).encode()
    assert binary(data) == [one]
    batch = json.dumps([event(), event(id="e-2")]).encode()
    first, second = usage_of_request({"content-type": BATCH}, batch, NOW_MS)
    assert first == one
    assert second == one._replace(key="/apps/api e-2")


def test_without_a_time_it_is_now_and_a_retry_is_the_same_payload() -> None:
    (one,) = structured(time=None)
    assert one.occurred_at_ms == NOW_MS
    body = json.dumps(event(time=None)).encode()
    (again,) = usage_of_request({"content-type": STRUCTURED}, body, NOW_MS + 5_000)
    assert again.payload_digest == one.payload_digest


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "events[0].id"),
        ({"source": None}, "events[0].source"),
        ({"type": "other.event"}, "events[0].type"),
        ({"specversion": "0.9"}, "events[0]"),
        ({"subject": None}, "events[0].data.customer"),
        ({"data": {"feature": "calls", "customer": "beta"}}, "events[0].data.customer"),
        ({"data": {"amount": 1}}, "events[0].data.feature"),
        ({"data": {"feature": "calls", "amount": "3"}}, "events[0].data.amount"),
        ({"data": {"feature": "calls", "amount": 10**18}}, "events[0].data.amount"),
        ({"data": {"feature": "calls", "colour": 1}}, "events[0].data.colour"),
        ({"data": None}, "events[0].data"),
        ({"time": "2025-11-24T17:00:00Z"}, "events[0].time"),
        ({"time": "2025-10-01T00:00:00Z"}, "events[0].time"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        structured(**changes)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'["x"]', b"[" * 100_000])
def test_a_batch_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        usage_of_request({"content-type": BATCH}, body, NOW_MS)
    with pytest.raises(InvalidArgumentError):
        usage_of_request({"content-type": STRUCTURED}, body, NOW_MS)


def test_a_batch_is_bounded() -> None:
    batch = json.dumps([event()] * (EVENTS_MAX + 1)).encode()
    with pytest.raises(InvalidArgumentError, match="1 to 1000"):
        usage_of_request({"content-type": BATCH}, batch, NOW_MS)
