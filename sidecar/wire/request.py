"""Requests of the hot methods: from bytes to checked values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError

from sidecar.core.request import HoldRequest, KeyScope, Kind, Request
from sidecar.core.reservations import TTL_MS_MAX, TTL_MS_MIN
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import (
    DIMENSION_VALUE_LENGTH_MAX,
    DIMENSIONS_MAX,
    KEY_LENGTH_MAX,
    require_amount,
    require_id,
    require_optional_id,
    require_signed_amount,
    require_text,
)
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

CHECKS_MAX = 1000
"""How many checks one BatchCheck may carry."""

_SCOPES: Final[Mapping[int, KeyScope]] = {
    pb.IDEMPOTENCY_SCOPE_UNSPECIFIED: KeyScope.SIDECAR,
    pb.IDEMPOTENCY_SCOPE_SIDECAR: KeyScope.SIDECAR,
    pb.IDEMPOTENCY_SCOPE_FLEET: KeyScope.FLEET,
}


def check_from_bytes(payload: bytes) -> Request:
    """Read a CheckRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.CheckRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("CheckRequest") from error
    return _check_from_proto(message, "")


def batch_check_from_bytes(payload: bytes) -> list[Request]:
    """Read a BatchCheckRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.BatchCheckRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("BatchCheckRequest") from error
    if len(message.checks) > CHECKS_MAX:
        raise InvalidArgumentError("checks", f"has {len(message.checks)}; at most {CHECKS_MAX}")
    return [
        _check_from_proto(check, f"checks[{index}].") for index, check in enumerate(message.checks)
    ]


def consume_from_bytes(payload: bytes) -> Request:
    """Read a ConsumeRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.ConsumeRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("ConsumeRequest") from error
    return _usage_from_proto(message, Kind.CONSUME, None)


def report_from_bytes(payload: bytes) -> Request:
    """Read a ReportRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.ReportRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("ReportRequest") from error
    occurred = message.occurred_at_unix_ms if message.HasField("occurred_at_unix_ms") else None
    return _usage_from_proto(message, Kind.REPORT, occurred)


def reserve_from_bytes(payload: bytes) -> HoldRequest:
    """Read a ReserveRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.ReserveRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("ReserveRequest") from error
    customer = require_id("customer", message.customer)
    wanted = Request(
        Kind.RESERVE,
        customer,
        require_optional_id("resource", message.resource),
        require_id("feature", message.feature),
        require_amount("amount", message.amount) if message.HasField("amount") else None,
        dimensions=_dimensions_from_proto(message.dimensions) if message.dimensions else (),
    )
    return HoldRequest(
        Kind.RESERVE,
        customer,
        require_id("reservation", message.reservation),
        ttl_ms=_ttl_from_proto(message),
        wanted=wanted,
    )


def extend_from_bytes(payload: bytes) -> HoldRequest:
    """Read an ExtendRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.ExtendRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("ExtendRequest") from error
    return HoldRequest(
        Kind.EXTEND,
        require_id("customer", message.customer),
        require_id("reservation", message.reservation),
        require_amount("amount", message.amount) if message.HasField("amount") else None,
        _ttl_from_proto(message),
    )


def settle_from_bytes(payload: bytes) -> HoldRequest:
    """Read a SettleRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.SettleRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("SettleRequest") from error
    return HoldRequest(
        Kind.SETTLE,
        require_id("customer", message.customer),
        require_id("reservation", message.reservation),
        require_amount("amount", message.amount),
    )


def release_from_bytes(payload: bytes) -> HoldRequest:
    """Read a ReleaseRequest. Raises InvalidArgumentError naming the field."""
    try:
        message = sidecar_pb.ReleaseRequest.FromString(payload)
    except DecodeError as error:
        raise _undecodable("ReleaseRequest") from error
    return HoldRequest(
        Kind.RELEASE,
        require_id("customer", message.customer),
        require_id("reservation", message.reservation),
    )


def _ttl_from_proto(message: sidecar_pb.ReserveRequest | sidecar_pb.ExtendRequest) -> int | None:
    if not message.HasField("ttl_ms"):
        return None
    if not TTL_MS_MIN <= message.ttl_ms <= TTL_MS_MAX:
        raise InvalidArgumentError(
            "ttl_ms", f"{message.ttl_ms} is not {TTL_MS_MIN} to {TTL_MS_MAX} (24 hours)"
        )
    return message.ttl_ms


def _check_from_proto(message: sidecar_pb.CheckRequest, path: str) -> Request:
    return Request(
        Kind.CHECK,
        require_id(f"{path}customer", message.customer),
        require_optional_id(f"{path}resource", message.resource),
        require_id(f"{path}feature", message.feature),
        require_amount(f"{path}amount", message.amount) if message.HasField("amount") else None,
        require_text(f"{path}value", message.value, DIMENSION_VALUE_LENGTH_MAX),
    )


def _usage_from_proto(
    message: sidecar_pb.ConsumeRequest | sidecar_pb.ReportRequest,
    kind: Kind,
    occurred_at_ms: int | None,
) -> Request:
    scope = _SCOPES.get(message.idempotency_scope)
    if scope is None:
        raise InvalidArgumentError(
            "idempotency_scope", f"{message.idempotency_scope} is not a scope; it is 0, 1 or 2"
        )
    key = require_text("idempotency_key", message.idempotency_key, KEY_LENGTH_MAX)
    if not key and message.idempotency_scope == pb.IDEMPOTENCY_SCOPE_FLEET:
        raise InvalidArgumentError("idempotency_key", "is empty; scope FLEET needs one")
    return Request(
        kind,
        require_id("customer", message.customer),
        require_optional_id("resource", message.resource),
        require_id("feature", message.feature),
        require_signed_amount("amount", message.amount) if message.HasField("amount") else None,
        "",
        key,
        scope,
        _dimensions_from_proto(message.dimensions) if message.dimensions else (),
        occurred_at_ms,
    )


def _dimensions_from_proto(dimensions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidArgumentError("dimensions", f"has {len(dimensions)}; at most {DIMENSIONS_MAX}")
    for name, value in dimensions.items():
        require_id("dimensions", name)
        require_text(f"dimensions[{name}]", value, DIMENSION_VALUE_LENGTH_MAX)
    return tuple(sorted(dimensions.items()))


def _undecodable(name: str) -> InvalidArgumentError:
    return InvalidArgumentError("request", f"is not a {name}")
