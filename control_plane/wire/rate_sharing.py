"""Shares of rates: what streams say of them, protobuf to values and back."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Final

from control_plane.granting.rate_desk import HeldShare, RateAck, RateAsk, RateRequest
from control_plane.granting.work import RateSharesTold
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.rate_share import NUMBER_MAX, RateClaim, RateKey, RateShare
from weighbridge.rules.units import require_id, require_optional_id
from weighbridge.v1 import sync_service_pb2 as pb

HELD_MAX: Final = 1_000_000
ITEMS_MAX: Final = 100_000


def held_shares_from_proto(held: Iterable[pb.HeldRateShare]) -> tuple[HeldShare, ...]:
    """Read what a hello says is held. Raises InvalidArgumentError naming the field."""
    field = "hello.rate_shares"
    shares = tuple(
        HeldShare(
            _key(field, each.key),
            _part(f"{field}.share", each.share),
            _part(f"{field}.whole", each.whole),
        )
        for each in held
    )
    _require_few(field, shares, HELD_MAX)
    return shares


def rate_request_from_proto(message: pb.RateRequest) -> RateRequest:
    """Read a request. Raises InvalidArgumentError naming the field."""
    _require_few("rate_request.acks", message.acks, ITEMS_MAX)
    _require_few("rate_request.asks", message.asks, ITEMS_MAX)
    return RateRequest(
        tuple(_ack("rate_request.acks", ack) for ack in message.acks),
        tuple(_ask("rate_request.asks", ask) for ask in message.asks),
        _count("rate_request.revision", message.revision),
    )


def shares_to_proto(told: RateSharesTold) -> pb.SyncResponse:
    """Return the message."""
    message = pb.RateShares(
        shares=[
            pb.RateShare(
                key=pb.RateKey(
                    customer=share.key.customer,
                    resource=share.key.resource,
                    feature=share.key.feature,
                    rate_id=share.key.rate_id,
                ),
                serial=share.serial,
                share=pb.RatePart(parts=share.share.parts, burst=share.share.burst),
                added=share.added,
                retry_in_ms=share.retry_in_ms,
            )
            for share in told.shares
        ]
    )
    return pb.SyncResponse(rate_shares=message)


def _ack(field: str, message: pb.RateAck) -> RateAck:
    return RateAck(
        _key(field, message.key),
        _count(f"{field}.serial", message.serial),
        _count(f"{field}.returned", message.returned),
        message.ended,
    )


def _ask(field: str, message: pb.RateAsk) -> RateAsk:
    whole = None
    if message.HasField("whole"):
        whole = _part(f"{field}.whole", message.whole)
        if not (whole.parts and whole.burst):
            raise InvalidArgumentError(f"{field}.whole", "lets nothing through; no rate does that")
    parts = _count(f"{field}.parts", message.parts) if message.HasField("parts") else None
    units_min = _count(f"{field}.units_min", message.units_min)
    return RateAsk(_key(field, message.key), whole, RateClaim(parts, units_min))


def _key(field: str, message: pb.RateKey) -> RateKey:
    return RateKey(
        require_id(f"{field}.key.customer", message.customer),
        require_optional_id(f"{field}.key.resource", message.resource),
        require_id(f"{field}.key.feature", message.feature),
        require_id(f"{field}.key.rate_id", message.rate_id),
    )


def _part(field: str, message: pb.RatePart) -> RateShare:
    parts = _count(f"{field}.parts", message.parts)
    return RateShare(parts, _count(f"{field}.burst", message.burst))


def _count(field: str, number: int) -> int:
    if not 0 <= number <= NUMBER_MAX:
        raise InvalidArgumentError(field, f"{number} is not between 0 and {NUMBER_MAX}")
    return number


def _require_few(field: str, items: Sized, most: int) -> None:
    if len(items) > most:
        raise InvalidArgumentError(field, f"has {len(items)}; at most {most}")
