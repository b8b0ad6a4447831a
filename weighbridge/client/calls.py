"""The calls both clients make: requests, what their answers become, what may be repeated."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypedDict, TypeVar

from google.protobuf.message import Message

from weighbridge.client import wire
from weighbridge.client.values import (
    Check,
    Consumption,
    DecidedBy,
    Decision,
    Entitlements,
    IdempotencyScope,
    Receipt,
)
from weighbridge.rules.decision import Reason
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import (
    require_amount,
    require_id,
    require_optional_id,
    require_signed_amount,
)
from weighbridge.v1 import sidecar_service_pb2 as pb
from weighbridge.v1 import types_pb2

T = TypeVar("T")

_SCOPES: Final = {
    IdempotencyScope.SIDECAR: types_pb2.IDEMPOTENCY_SCOPE_SIDECAR,
    IdempotencyScope.FLEET: types_pb2.IDEMPOTENCY_SCOPE_FLEET,
}


class AllocationOptions(TypedDict, total=False):
    """What `allocation` takes by name beside customer, feature and amount."""

    resource: str
    dimensions: Mapping[str, str]
    timeout_s: float | None


class MeterOptions(AllocationOptions, total=False):
    """What `meter` takes by name beside customer, feature and chunk."""

    reservation: str


class ReserveOptions(MeterOptions, total=False):
    """What `reserve` takes by name beside customer, feature and amount.

    `reservation` is the id; without one, a random one. The hold ends by itself after `ttl_s`
    seconds, 1 to 86,400; 300 where none is given.
    """

    ttl_s: float


class UsageOptions(AllocationOptions, total=False):
    """What `consume` and `report` take by name beside customer, feature and amount.

    `dimensions` say what the usage is about (model, region, endpoint), at most 16. A call that
    repeats an `idempotency_key` with the same payload gets the first answer and records nothing.
    """

    idempotency_key: str
    idempotency_scope: IdempotencyScope


class ReportOptions(UsageOptions, total=False):
    """What `report` takes besides: an aware datetime, at most 35 days back."""

    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One call of the service, ready to be made any number of times.

    `is_repeatable`: a repetition after a lost answer changes nothing. `fallback` turns "allowed"
    into the answer that stands in for an unreachable sidecar; None where none can be invented.
    """

    method: str
    request: Message
    answer: Callable[[Any], T]
    is_repeatable: bool = True
    fallback: Callable[[bool], T] | None = None
    timeout_s: float | None = None
    idempotency_key: str | None = None


def check(question: Check, timeout_s: float | None) -> Call[Decision]:
    """Build a Check."""
    return Call(
        method="Check",
        request=_check_request(question),
        answer=lambda reply: wire.decision_from_proto(reply.decision),
        fallback=lambda allowed: fallback_decision(question.feature, allowed=allowed),
        timeout_s=timeout_s,
    )


def batch_check(questions: Sequence[Check], timeout_s: float | None) -> Call[list[Decision]]:
    """Build a BatchCheck; its answers are in the order of the questions."""
    features = [question.feature for question in questions]
    return Call(
        method="BatchCheck",
        request=pb.BatchCheckRequest(checks=[_check_request(question) for question in questions]),
        answer=lambda reply: [wire.decision_from_proto(item) for item in reply.decisions],
        fallback=lambda allowed: [fallback_decision(f, allowed=allowed) for f in features],
        timeout_s=timeout_s,
    )


def consume(
    subject: tuple[str, str], amount: int, options: UsageOptions, *, generates_keys: bool
) -> Call[Consumption]:
    """Build a Consume for (customer, feature).

    A release has no fallback: one that is not known to be recorded is not done.
    """
    refuse_unknown(options, UsageOptions)
    fields = _usage_fields(subject, amount, options, generates_keys=generates_keys)
    feature = subject[1]
    return Call(
        method="Consume",
        request=pb.ConsumeRequest(**fields),
        answer=wire.consumption_from_proto,
        is_repeatable=bool(fields["idempotency_key"]),
        fallback=None
        if amount < 0
        else lambda allowed: Consumption(fallback_decision(feature, allowed=allowed), None),
        timeout_s=options.get("timeout_s"),
        idempotency_key=fields["idempotency_key"] or None,
    )


def acquired(amount: int) -> int:
    """Return what acquiring an amount consumes. Raises InvalidArgumentError."""
    return require_amount("amount", amount)


def released(amount: int) -> int:
    """Return what releasing an amount consumes. Raises InvalidArgumentError."""
    return -require_amount("amount", amount)


def report(
    subject: tuple[str, str], amount: int, options: ReportOptions, *, generates_keys: bool
) -> Call[Receipt]:
    """Build a Report for (customer, feature). It has no fallback: usage cannot be invented."""
    refuse_unknown(options, ReportOptions)
    fields = _usage_fields(subject, amount, options, generates_keys=generates_keys)
    occurred_at = options.get("occurred_at")
    if occurred_at is not None:
        if occurred_at.tzinfo is None:
            raise InvalidArgumentError("occurred_at", "has no time zone; give an aware datetime")
        fields["occurred_at_unix_ms"] = wire.unix_ms(occurred_at)
    return Call(
        method="Report",
        request=pb.ReportRequest(**fields),
        answer=wire.receipt_from_proto,
        is_repeatable=bool(fields["idempotency_key"]),
        timeout_s=options.get("timeout_s"),
        idempotency_key=fields["idempotency_key"] or None,
    )


def entitlements(customer: str, resource: str, timeout_s: float | None) -> Call[Entitlements]:
    """Build a GetEntitlements. It has no fallback: entitlements cannot be invented."""
    return Call(
        method="GetEntitlements",
        request=pb.GetEntitlementsRequest(**_whose(customer, resource)),
        answer=lambda reply: wire.entitlements_from_proto(reply.entitlements),
        timeout_s=timeout_s,
    )


def watch(customer: str, resource: str) -> Call[Entitlements]:
    """Build a Watch; `answer` is for each message of its stream."""
    return Call(
        method="Watch",
        request=pb.WatchRequest(**_whose(customer, resource)),
        answer=lambda reply: wire.entitlements_from_proto(reply.entitlements),
    )


def fallback_decision(feature: str, *, allowed: bool) -> Decision:
    """Return the decision that stands in for an unreachable sidecar."""
    return Decision(
        allowed=allowed,
        reason=None if allowed else Reason.OUTAGE_POLICY,
        feature=feature,
        decided_by=DecidedBy.CLIENT_FALLBACK,
    )


def _whose(customer: str, resource: str) -> dict[str, Any]:
    return {
        "customer": require_id("customer", customer),
        "resource": require_optional_id("resource", resource),
    }


def _check_request(question: Check) -> pb.CheckRequest:
    amount = question.amount
    return pb.CheckRequest(
        **_whose(question.customer, question.resource),
        feature=require_id("feature", question.feature),
        amount=None if amount is None else require_amount("amount", amount),
        value=_require_unicode("value", question.value),
    )


def _usage_fields(
    subject: tuple[str, str], amount: int, options: UsageOptions, *, generates_keys: bool
) -> dict[str, Any]:
    key = options.get("idempotency_key", "")
    if not key and generates_keys:
        key = uuid.uuid4().hex
    scope = options.get("idempotency_scope")
    return {
        **subject_fields(subject, options),
        "amount": require_signed_amount("amount", amount),
        "idempotency_key": _require_unicode("idempotency_key", key),
        "idempotency_scope": _SCOPES[scope] if scope else None,
    }


def subject_fields(subject: tuple[str, str], options: AllocationOptions) -> dict[str, Any]:
    """Return whose usage of what it is, and what about. Raises InvalidArgumentError."""
    customer, feature = subject
    dimensions = options.get("dimensions", {})
    for name, value in dimensions.items():
        _require_unicode("dimensions", name)
        _require_unicode("dimensions", value)
    return {
        **_whose(customer, options.get("resource", "")),
        "feature": require_id("feature", feature),
        "dimensions": dimensions,
    }


def _require_unicode(field: str, text: str) -> str:
    """Return the text, or raise where it is not Unicode; lengths are the sidecar's to judge."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(field, f"is not Unicode text: {error.reason}") from error
    return text


def refuse_unknown(options: AllocationOptions, known: type[AllocationOptions]) -> None:
    """Raise for a misspelt option as Python does for a misspelt argument."""
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected option {min(unknown)!r}; known are {_names(known)}")


def _names(known: type[AllocationOptions]) -> str:
    return ", ".join(sorted(known.__annotations__))
