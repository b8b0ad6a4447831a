"""CloudEvents 1.0 to usage: structured, binary and batches, by the official package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from control_plane.metering.records import KeyScope, UsageEntry, UsageKind
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import AMOUNT_MAX, KEY_LENGTH_MAX, require_id, require_optional_id

TYPE: Final = "weighbridge.usage"
BATCH: Final = "application/cloudevents-batch+json"
STRUCTURED: Final = "application/cloudevents+json"
HEADER: Final = "ce-"
REQUIRED: Final = ("id", "source", "type", "specversion")
EVENTS_MAX: Final = 1_000
LATE_MS_MAX: Final = 35 * 24 * 3_600_000
AHEAD_MS_MAX: Final = 5 * 60_000
DIMENSIONS_MAX: Final = 16

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UsageData(BaseModel):
    """What an event says; `customer` may be its subject instead."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customer: str = ""
    feature: str
    amount: int = Field(default=1, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    resource: str = ""
    dimensions: dict[str, str] = Field(default_factory=dict, max_length=DIMENSIONS_MAX)


def usage_of_request(headers: Mapping[str, str], body: bytes, now_ms: int) -> list[UsageEntry]:
    """Return the usage that a request reports. Raises InvalidArgumentError naming event and field.

    One that is wrong refuses all: nothing of the request is counted.
    """
    events = _events(headers, body)
    return [_usage(f"events[{at}]", event, now_ms) for at, event in enumerate(events)]


class _Told(NamedTuple):
    event: BaseCloudEvent
    has_time: bool


def _events(headers: Mapping[str, str], body: bytes) -> list[_Told]:
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != BATCH:
        is_binary = any(name.lower().startswith(HEADER) for name in headers)
        told = _attributes_of(headers) if is_binary else _parsed(body)
        return [_event("events[0]", headers, body, told)]
    batch = _parsed(body)
    if not isinstance(batch, list) or not 1 <= len(batch) <= EVENTS_MAX:
        raise InvalidArgumentError("body", f"is no list of 1 to {EVENTS_MAX} events")
    structured = {"content-type": STRUCTURED}
    return [
        _event(f"events[{at}]", structured, json.dumps(each).encode(), each)
        for at, each in enumerate(batch)
    ]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError("body", f"is no JSON: {error}") from error


def _attributes_of(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower().removeprefix(HEADER): value
        for name, value in headers.items()
        if name.lower().startswith(HEADER)
    }


def _event(where: str, headers: Mapping[str, str], body: bytes, told: Any) -> _Told:
    """Read an event; `told` are its attributes as they came: the package makes up missing ones."""
    if not isinstance(told, dict):
        raise InvalidArgumentError(where, "is no CloudEvent: no JSON object")
    for name in REQUIRED:
        if not isinstance(told.get(name), str) or not told[name]:
            raise InvalidArgumentError(f"{where}.{name}", "is missing, or no text")
    try:
        return _Told(from_http_event(HTTPMessage(dict(headers), body)), "time" in told)
    except CloudEventValidationError as error:
        field, problems = next(iter(error.errors.items()))
        raise InvalidArgumentError(f"{where}.{field}", str(problems[0])) from error
    except (BaseCloudEventException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgumentError(where, f"is no CloudEvent 1.0: {error}") from error


def _usage(where: str, told_event: _Told, now_ms: int) -> UsageEntry:
    event = told_event.event
    if event.get_type() != TYPE:
        problem = f"{event.get_type()!r} is not {TYPE}, the type that is taken here"
        raise InvalidArgumentError(f"{where}.type", problem)
    told = _data(where, event.get_data())
    customer = told.customer or event.get_subject() or ""
    if told.customer and event.get_subject() not in {None, "", told.customer}:
        problem = f"{told.customer!r} is not the event's subject {event.get_subject()!r}"
        raise InvalidArgumentError(f"{where}.data.customer", problem)
    require_id(f"{where}.data.customer", customer)
    require_id(f"{where}.data.feature", told.feature)
    require_optional_id(f"{where}.data.resource", told.resource)
    dimensions = tuple(sorted(told.dimensions.items()))
    at_ms = _instant(where, event.get_time() if told_event.has_time else None, now_ms)
    payload = repr((customer, told.resource, told.feature, told.amount, dimensions))
    return UsageEntry(
        customer,
        told.resource,
        told.feature,
        told.amount,
        at_ms,
        UsageKind.REPORT,
        key=_key(event),
        key_scope=KeyScope.FLEET,
        payload_digest=blake2b(payload.encode(), digest_size=16).digest(),
        dimensions=dimensions,
    )


def _data(where: str, data: Any) -> UsageData:
    if isinstance(data, bytes | str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{where}.data", f"is no JSON: {error}") from error
    try:
        return UsageData.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        name = f"{where}.data.{field}" if field else f"{where}.data"
        raise InvalidArgumentError(name, first["msg"]) from None


def _instant(where: str, at: datetime | None, now_ms: int) -> int:
    if at is None:
        return now_ms
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    at_ms = (aware - _EPOCH) // timedelta(milliseconds=1)
    if not now_ms - LATE_MS_MAX <= at_ms <= now_ms + AHEAD_MS_MAX:
        problem = f"{aware.isoformat()} is not within 35 days back and 5 minutes ahead"
        raise InvalidArgumentError(f"{where}.time", problem)
    return at_ms


def _key(event: BaseCloudEvent) -> str:
    """Return what an event is known by: source and id are unique together."""
    key = f"{event.get_source()} {event.get_id()}"
    if len(key) <= KEY_LENGTH_MAX:
        return key
    return blake2b(key.encode(), digest_size=32).hexdigest()
