"""The calls about reservations and meters that both clients make."""

from __future__ import annotations

import uuid
from typing import Any

from weighbridge.client import wire
from weighbridge.client.calls import (
    Call,
    MeterOptions,
    ReserveOptions,
    fallback_decision,
    refuse_unknown,
    subject_fields,
)
from weighbridge.client.values import Released, Reserved, Settlement
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import require_amount, require_id
from weighbridge.v1 import sidecar_service_pb2 as pb


def reserve(subject: tuple[str, str], amount: int, options: ReserveOptions) -> Call[Reserved]:
    """Build a Reserve for (customer, feature). Its id makes it repeatable."""
    refuse_unknown(options, ReserveOptions)
    feature = subject[1]
    return Call(
        method="Reserve",
        request=pb.ReserveRequest(
            **subject_fields(subject, options),
            amount=require_amount("amount", amount),
            reservation=reservation_id(options),
            ttl_ms=_ttl_ms(options.get("ttl_s")),
        ),
        answer=wire.reserved_from_proto,
        fallback=lambda allowed: Reserved(fallback_decision(feature, allowed=allowed), None),
        timeout_s=options.get("timeout_s"),
    )


def extend(
    whose: tuple[str, str], amount: int | None, ttl_s: float | None, timeout_s: float | None
) -> Call[Reserved]:
    """Build an Extend of (customer, reservation). It states what is to be, so it is repeatable."""
    return Call(
        method="Extend",
        request=pb.ExtendRequest(
            **_hold(whose),
            amount=None if amount is None else require_amount("amount", amount),
            ttl_ms=_ttl_ms(ttl_s),
        ),
        answer=wire.reserved_from_proto,
        timeout_s=timeout_s,
    )


def settle(whose: tuple[str, str], amount: int, timeout_s: float | None) -> Call[Settlement]:
    """Build a Settle of (customer, reservation)."""
    return Call(
        method="Settle",
        request=pb.SettleRequest(**_hold(whose), amount=require_amount("amount", amount)),
        answer=wire.settlement_from_proto,
        timeout_s=timeout_s,
    )


def release(whose: tuple[str, str], timeout_s: float | None) -> Call[Released]:
    """Build a Release of (customer, reservation)."""
    return Call(
        method="Release",
        request=pb.ReleaseRequest(**_hold(whose)),
        answer=wire.released_from_proto,
        timeout_s=timeout_s,
    )


def meter(subject: tuple[str, str], chunk: int, options: MeterOptions) -> pb.MeterRequest:
    """Build the first message of a Meter for (customer, feature)."""
    refuse_unknown(options, MeterOptions)
    opening = pb.MeterOpen(
        **subject_fields(subject, options),
        reservation=reservation_id(options),
        chunk_amount=require_amount("chunk", chunk),
    )
    return pb.MeterRequest(open=opening)


def reservation_id(options: MeterOptions) -> str:
    """Return the id that was chosen, else a random one."""
    return require_id("reservation", options.get("reservation") or uuid.uuid4().hex)


def _hold(whose: tuple[str, str]) -> dict[str, Any]:
    customer, reservation = whose
    return {
        "customer": require_id("customer", customer),
        "reservation": require_id("reservation", reservation),
    }


def _ttl_ms(ttl_s: float | None) -> int | None:
    if ttl_s is None:
        return None
    if not 0 < ttl_s < 2**31:
        raise InvalidArgumentError("ttl_s", f"{ttl_s} is not between 1 and 86,400 seconds")
    return round(ttl_s * 1000)
