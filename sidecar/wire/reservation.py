"""Answers about reservations, to bytes."""

from __future__ import annotations

from sidecar.core.request import Kind
from sidecar.core.reservations import Hold
from sidecar.core.reserving import HoldOutcome
from sidecar.wire.decision import fill_decision, receipt_to_proto
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb


def hold_answer_to_bytes(outcome: HoldOutcome, epoch: str, number: int) -> bytes:
    """Serialize the response to a Reserve, Extend, Settle or Release."""
    match outcome.request.kind:
        case Kind.RESERVE:
            reserve = sidecar_pb.ReserveResponse()
            _fill_held(reserve, outcome)
            return reserve.SerializeToString()
        case Kind.EXTEND:
            extend = sidecar_pb.ExtendResponse()
            _fill_held(extend, outcome)
            return extend.SerializeToString()
        case Kind.SETTLE:
            return _settled(outcome, epoch, number).SerializeToString()
        case _:
            hold = _hold_of(outcome)
            return sidecar_pb.ReleaseResponse(
                released_amount=0 if hold.has_expired else hold.amount,
                had_expired=hold.has_expired,
            ).SerializeToString()


def replayed_hold_answer(kind: Kind, answer: bytes) -> bytes:
    """Mark the first answer to a reservation's id as given again."""
    response: sidecar_pb.ReserveResponse | sidecar_pb.SettleResponse | sidecar_pb.ReleaseResponse
    if kind is Kind.RESERVE:
        response = sidecar_pb.ReserveResponse.FromString(answer)
    elif kind is Kind.SETTLE:
        response = sidecar_pb.SettleResponse.FromString(answer)
    else:
        response = sidecar_pb.ReleaseResponse.FromString(answer)
    response.replayed = True
    return response.SerializeToString()


def _fill_held(
    message: sidecar_pb.ReserveResponse | sidecar_pb.ExtendResponse, outcome: HoldOutcome
) -> None:
    assert outcome.decided is not None, "units were asked for"
    decided, hold = outcome.decided, outcome.hold
    if not decided.verdict.allowed or hold is None:
        fill_decision(message.decision, decided)
    else:
        # What is held counts from now on, as recorded usage would.
        fill_decision(message.decision, decided._replace(is_recorded=True))
        if decided.verdict.state is not None:
            message.decision.reserved += decided.request.units
    if hold is not None:
        message.reservation.id = hold.reservation
        message.reservation.amount = hold.amount
        message.reservation.expires_at_unix_ms = hold.expires_at_ms


def _settled(outcome: HoldOutcome, epoch: str, number: int) -> sidecar_pb.SettleResponse:
    assert outcome.used is not None, "a settlement charges what was used, if only 0"
    return sidecar_pb.SettleResponse(
        receipt=receipt_to_proto(outcome.used, epoch, number),
        had_expired=_hold_of(outcome).has_expired,
        excess_amount=outcome.excess,
        uncharged_amount=outcome.uncharged,
        charged_before_amount=_hold_of(outcome).charged,
    )


def _hold_of(outcome: HoldOutcome) -> Hold:
    assert outcome.hold is not None, "it was there"
    return outcome.hold
