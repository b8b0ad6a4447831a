"""One Meter: what it has used and holds, what it asks of its hold, and its answers."""

from __future__ import annotations

from typing import Final

from weighbridge.rules.decision import LimitState
from weighbridge.rules.errors import InvalidArgumentError
from weighbridge.rules.units import require_amount
from weighbridge.v1 import sidecar_service_pb2 as sidecar_pb
from weighbridge.v1 import types_pb2 as pb

THRESHOLDS_PERCENT: Final = (80, 95)


class MeteredWork:
    """The work of one stream. Its ids are checked when units are reserved for it."""

    def __init__(self, opening: sidecar_pb.MeterOpen, chunk: int) -> None:
        self._opening = opening
        self.chunk = chunk
        self.used = 0
        self.held = 0
        self._warned_percent = 0

    @property
    def key(self) -> tuple[str, str]:
        """The customer and the id of the hold."""
        return (self._opening.customer, self._opening.reservation)

    @property
    def resource(self) -> str:
        """The resource; "": the customer itself."""
        return self._opening.resource

    @property
    def feature(self) -> str:
        """What is metered."""
        return self._opening.feature

    @property
    def ahead(self) -> int:
        """Units held beyond those used."""
        return self.held - self.used

    def advance(self, request: sidecar_pb.MeterRequest) -> None:
        """Take in what was used so far. Raises InvalidArgumentError."""
        if request.WhichOneof("step") != "used_amount":
            raise InvalidArgumentError("used_amount", "is what every message after the first says")
        used = require_amount("used_amount", request.used_amount)
        if used < self.used:
            raise InvalidArgumentError(
                "used_amount",
                f"{used} is less than the {self.used} told before; it is all that was used so far",
            )
        self.used = used

    def reserve(self, ttl_ms: int) -> bytes:
        """Return the request for the first chunk."""
        opening = self._opening
        return sidecar_pb.ReserveRequest(
            customer=opening.customer,
            resource=opening.resource,
            feature=opening.feature,
            amount=self.chunk,
            reservation=opening.reservation,
            ttl_ms=ttl_ms,
            dimensions=opening.dimensions,
        ).SerializeToString()

    def extend(self, amount: int | None, ttl_ms: int) -> bytes:
        """Return the request to hold so many units in all; None: as many as now."""
        customer, reservation = self.key
        return sidecar_pb.ExtendRequest(
            customer=customer, reservation=reservation, amount=amount, ttl_ms=ttl_ms
        ).SerializeToString()

    def settle(self, amount: int) -> bytes:
        """Return the request to charge so many units."""
        customer, reservation = self.key
        return sidecar_pb.SettleRequest(
            customer=customer, reservation=reservation, amount=amount
        ).SerializeToString()

    def continued(
        self, decision: pb.Decision | None, state: LimitState | None
    ) -> sidecar_pb.MeterResponse:
        """Say that the work may go on, and whether it passed a threshold of the tightest limit."""
        response = self._response(sidecar_pb.METER_SIGNAL_CONTINUE, state)
        if decision is not None:
            response.decision.CopyFrom(decision)
        percent = self._percent_passed(state)
        if percent > self._warned_percent:
            self._warned_percent = percent
            response.signal = sidecar_pb.METER_SIGNAL_WARN
            response.threshold_percent = percent
        return response

    def stopped(
        self, decision: pb.Decision, state: LimitState | None = None
    ) -> sidecar_pb.MeterResponse:
        """Say that no further chunk is held, and why."""
        response = self._response(sidecar_pb.METER_SIGNAL_STOP, state)
        response.decision.CopyFrom(decision)
        return response

    def settled(self, settlement: sidecar_pb.SettleResponse) -> sidecar_pb.MeterResponse:
        """Say what was charged."""
        charged = settlement.receipt.amount + settlement.charged_before_amount
        return sidecar_pb.MeterResponse(
            signal=sidecar_pb.METER_SIGNAL_SETTLED,
            used_amount=self.used,
            receipt=settlement.receipt,
            uncharged_amount=max(self.used - charged, 0),
            charged_before_amount=settlement.charged_before_amount,
        )

    def _response(
        self, signal: sidecar_pb.MeterSignal.ValueType, state: LimitState | None
    ) -> sidecar_pb.MeterResponse:
        response = sidecar_pb.MeterResponse(
            signal=signal, used_amount=self.used, held_amount=self.held
        )
        if state is not None and state.limit.limit is not None:
            response.remaining = max(state.limit.limit - self._used_of(state), 0)
        return response

    def _used_of(self, state: LimitState) -> int:
        """Return what is used of a limit: what this work holds counts only as far as it is used."""
        # Where the window turned since it began, the hold counts in the one before.
        is_counted = state.reserved >= self.held
        return state.used - self.ahead if is_counted else state.used

    def _percent_passed(self, state: LimitState | None) -> int:
        if state is None or not state.limit.limit:
            return 0
        used, limit = self._used_of(state), state.limit.limit
        return max((p for p in THRESHOLDS_PERCENT if used * 100 >= p * limit), default=0)


def metered_from_proto(request: sidecar_pb.MeterRequest | None) -> MeteredWork:
    """Read the first message of a stream. Raises InvalidArgumentError."""
    if request is None or request.WhichOneof("step") != "open":
        raise InvalidArgumentError("open", "is missing; the first message says what is metered")
    chunk = 1
    if request.open.HasField("chunk_amount"):
        chunk = require_amount("chunk_amount", request.open.chunk_amount)
    if not chunk:
        raise InvalidArgumentError("chunk_amount", "is 0; it is what the work may use at a time")
    return MeteredWork(request.open, chunk)
